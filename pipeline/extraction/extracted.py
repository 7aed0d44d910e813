"""Stage 1 as the commands see it: the store of a configuration, extracted if it must be."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from cache import CacheCorrupt, verify
from cache.storage import is_url, open_storage
from pipeline.config import RunConfig
from pipeline.console import Meter
from pipeline.datasets import dataset_of
from pipeline.detectors import build_detector
from pipeline.errors import NoUsableFrames, Stopped, StoreMissing
from pipeline.extraction.plan import ExtractPlan, plan_extraction, say_plan
from pipeline.extraction.request import is_up_to_date, request_of
from pipeline.extraction.workers import fill_store
from pipeline.interruption import Interruption
from pipeline.runs.directories import provenance, writable_folder
from pipeline.stores.bad_frame_list import missing_pictures, say_missing, write_list
from pipeline.stores.facts import extracted_store, open_store
from pipeline.stores.notes import write_note
from stages.extract.boxes.rules import box_warning, refuse_unfit_boxes
from stages.extract.chunks import ChunkPart, ExtractProgress, ExtractSummary
from stages.extract.crop_fit import crop_warning
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.jobs import cache_spec, open_job
from stages.extract.keypoint_fit import keypoint_warning
from stages.extract.picture_fit import picture_warning


@dataclass(frozen=True)
class StoreState:
    """A store and what was done for it."""

    location: str
    complete: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    summary: ExtractSummary | None = None
    plan: ExtractPlan | None = None
    """What would be done, of a dry run."""


def ensure_store(
    config: RunConfig,
    screen: Console,
    *,
    dry_run: bool = False,
    trust_complete: bool = True,
    part: ChunkPart | None = None,
    repair: bool = False,
) -> StoreState:
    """Return the complete store of `config`, extracting what is missing of it.

    The store that `store` of the configuration names is never written, only opened.

    A complete store is taken as it is when the request beside it is the one of `config`, or, with
    `trust_complete`, when there is no request to compare (a store copied from another machine).
    Otherwise the store itself is asked, which refuses another detector, crop or dataset.

    Args:
        config: dataset, detector, crop and how to extract.
        screen: where progress is shown.
        dry_run: say what would be done; write nothing.
        trust_complete: see above.
        part: extract only these chunks; the store is complete when the other parts are done too.
        repair: read every byte of the store first, and extract damaged chunks again.

    Raises:
        CacheMismatch: the store at this path was made of something else; every key is named.
        StoreMissing: there is no store where `store` of the configuration says.
        Stopped: a signal ended it; running chunks were finished.
        NoUsableFrames: the store is complete, and every frame of it is recorded as unusable.
    """
    if config.store is not None:
        open_store(config.store)
        screen.print(f"{config.store}: taken as it is.", soft_wrap=True)
        return StoreState(config.store, complete=True)
    store = extracted_store(config)
    damaged = damaged_chunks(store, screen) if repair and open_storage(store).exists() else ()
    if not damaged and is_up_to_date(config, store, trust_complete=trust_complete):
        screen.print(f"{store}: up to date, nothing to extract.", soft_wrap=True)
        return StoreState(store, complete=True)
    start = time.perf_counter()
    dataset = dataset_of(config.dataset)
    detector = build_detector(config.detector, threads=config.extract.threads)
    loaded = time.perf_counter()
    refuse_unfit_boxes(dataset, config.crop.box_source)
    said = (
        box_warning(config.crop.box_source),
        crop_warning(detector, config.crop),
        keypoint_warning(detector, dataset.plan()),
        picture_warning(dataset.plan()),
    )
    warnings = [text for text in said if text is not None]
    for warning in warnings:
        screen.print(f"warning: {warning}", style="yellow", soft_wrap=True)
    if dry_run:
        plan = plan_extraction(config, dataset, detector, store, part)
        say_plan(plan, screen)
        return StoreState(store, complete=False, plan=plan)
    # Says what does not fit before anything is written.
    cache_spec(dataset.plan(), dataset.imported_keypoints(), detector, config.crop, config.extract)
    missing, strict = missing_pictures(dataset.plan()), config.extract.strict
    say_missing(missing, len(dataset.plan()), screen, strict=strict)
    if not is_url(config.data_root):
        writable_folder(Path(config.data_root), "data_root")
    with Interruption("the running chunk") as interruption, Meter(screen) as meter:
        rate = _Rate(meter, screen)
        job = open_job(
            dataset, detector, config.crop, store, config.extract, part=part, redo=damaged
        )
        summary = fill_store(
            job,
            config,
            dataset,
            detector,
            progress=rate.show,
            stop=interruption.requested,
            say=partial(screen.print, soft_wrap=True),
        )
        left = job.left()
        if not left:
            meter.update("extract", 1.0, f"{summary.seconds:.0f} s")
    if left and interruption.signal_number is not None:
        raise Stopped(
            f"{store}: {summary.chunks_done} chunks written, {left} left. "
            "The same command goes on from here.",
            interruption.signal_number,
        )
    seconds = {"load detector": loaded - start, "extract": summary.seconds}
    note = {
        **provenance(seconds),
        "dataset": _dataset_note(config),
        "warnings": warnings,
    }
    write_note(store, "provenance", note)
    _say_done(store, summary, part, screen)
    bad = _list_bad_frames(store, dataset, config.crop, screen)
    if not summary.chunks_missing:
        if bad is not None and bad.count == len(dataset.plan()):
            raise NoUsableFrames(
                f"{store}: not one of its {bad.count:,} frames can be used: {bad.reasons}. "
                f"{bad.path} says why of each. Mend that, delete the store, and run the same "
                "command again."
            )
        write_note(store, "request", request_of(config))
    rates = {} if rate.rows_per_s is None else {"extract": rate.rows_per_s}
    return StoreState(store, not summary.chunks_missing, seconds, rates, summary)


def complete_store(config: RunConfig, screen: Console) -> StoreState:
    """Return the store of `config`, which must be there and complete; nothing is extracted.

    Raises:
        StoreMissing: it is not, or it was made of something else.
    """
    if config.store is not None:
        return ensure_store(config, screen)
    store = extracted_store(config)
    if not is_up_to_date(config, store, trust_complete=True):
        raise StoreMissing(
            f"{store}: is missing, incomplete or of another configuration, and several processes do"
            " not extract it. Run 'posecache extract' with the same options first."
        )
    return StoreState(store, complete=True)


class _Rate:
    """Shows how far an extraction is, and keeps its latest speed."""

    def __init__(self, meter: Meter, screen: Console) -> None:
        self._meter = meter
        self._by_chunk = not screen.is_terminal  # a file gets a line when there is a new chunk
        self._chunks_shown: int | None = None
        self.rows_per_s: float | None = None

    def show(self, progress: ExtractProgress) -> None:
        self.rows_per_s = progress.rows_per_s
        if self._by_chunk and progress.chunks_done == self._chunks_shown:
            return
        self._chunks_shown = progress.chunks_done
        width = len(str(progress.num_chunks))
        note = f"chunk {progress.chunks_done:>{width}} of {progress.num_chunks}"
        note += f"  {progress.rows_per_s:6.1f} frames/s"
        if progress.workers != 1:
            note += f"  {progress.workers or 'waiting for'} workers"
        fraction = min(progress.fraction, 0.999)
        self._meter.update("extract", fraction, note, seconds_left=progress.seconds_left)


def damaged_chunks(store: str, screen: Console) -> tuple[int, ...]:
    """Return the chunks of a store that hold damaged bytes, after reading all of them.

    Raises:
        CacheCorrupt: the plan itself is damaged, which no chunk can mend.
    """
    with Meter(screen) as meter:
        report = verify(store, lambda done, of: meter.update("verify", done / of))
    plan = [problem for problem in report.bad if problem.chunk is None]
    if plan:
        raise CacheCorrupt(
            f"{store}: {plan[0].array} is damaged ({plan[0].reason}). Its labels cannot be "
            "extracted again chunk by chunk: delete the store and extract it anew."
        )
    for problem in report.bad:
        screen.print(
            f"damaged: chunk {problem.chunk}, {problem.array}, rows {problem.rows[0]}-"
            f"{problem.rows[1]}: {problem.reason}",
            style="yellow",
            soft_wrap=True,
        )
    chunks = tuple(sorted({problem.chunk for problem in report.bad if problem.chunk is not None}))
    numbers = ", ".join(map(str, chunks))
    found = f"extracting chunks {numbers} again." if chunks else "nothing is damaged."
    screen.print(f"{store}: {found}", soft_wrap=True)
    return chunks


@dataclass(frozen=True)
class _Bad:
    """Frames that cannot be used."""

    count: int
    reasons: str
    path: str | None
    """Of the list of them."""


def _list_bad_frames(
    store: str, dataset: Dataset, crop: CropConfig, screen: Console
) -> _Bad | None:
    """Write the list of bad frames and say how many there are, by reason, and where it lies."""
    found, path = write_list(store, dataset, crop)
    if not found:
        return None
    counts = Counter(frame.reason for frame in found)
    text = ", ".join(f"{reason} {count:,}" for reason, count in counts.items())
    screen.print(
        f"frames that cannot be used: {text}. All of them, with reasons: {path}",
        style="yellow",
        soft_wrap=True,
    )
    return _Bad(len(found), text, path)


def _say_done(store: str, summary: ExtractSummary, part: ChunkPart | None, screen: Console) -> None:
    screen.print(
        f"{store}: {summary.chunks_skipped} chunks kept, {summary.chunks_done} written",
        soft_wrap=True,
    )
    if summary.chunks_missing:
        what = f"part {part} is done; " if part else ""
        screen.print(
            f"{what}{summary.chunks_missing} chunks of {store} are still missing. When the other "
            "parts are done too, stores of several machines become one with: "
            f"posecache cache merge STORE STORE ... --out {open_storage(store).name}",
            soft_wrap=True,
        )


def _dataset_note(config: RunConfig) -> dict[str, Any]:
    """Return how to find the pictures of a store again."""
    root = config.dataset.root
    return {
        "name": config.dataset.name,
        "root": None if root is None else str(root.absolute()),
        "options": config.dataset.options,
    }
