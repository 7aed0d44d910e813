"""Stage 1 as the commands see it: which store, is it up to date, make it so."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from cache import CacheIncomplete, CacheReader
from cache.fingerprint import diff_identities
from pipeline.config import RunConfig
from pipeline.console import Meter
from pipeline.detectors import build_detector, detector_files
from pipeline.runs import provenance, read_json, writable_folder, write_json
from pipeline.stores import store_path
from pipeline.tables import size_text
from stages.extract.chunks import (
    ChunkPlan,
    ExtractProgress,
    ExtractSummary,
    extract,
    plan_chunks,
)
from stages.extract.datasets import DatasetError, build_dataset
from stages.extract.detectors.base import DetectorError

_NOT_IN_RESULT = ("loader_workers", "strict")
"""Settings of the extraction that change no number of the store."""


@dataclass(frozen=True)
class StoreState:
    """A store and what was done for it."""

    path: Path
    complete: bool
    seconds: Mapping[str, float] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)
    summary: ExtractSummary | None = None


def request_of(config: RunConfig) -> dict[str, Any]:
    """Return what was asked for, with the bytes of the detector's files instead of their paths.

    It is kept beside the store, so that a second `extract` knows without loading mmpose that
    there is nothing to do, and stage 2 that this is the store it wants.
    """
    network, weights = detector_files(config.detector)
    tree = config.dump()
    detector = {key: tree["detector"][key] for key in ("taps", "skeleton", "precision", "device")}
    return {
        "dataset": {key: tree["dataset"][key] for key in ("name", "options")},
        "detector": {**detector, "config": _sha256(network), "weights": _sha256(weights)},
        "crop": tree["crop"],
        "extract": {
            key: value for key, value in tree["extract"].items() if key not in _NOT_IN_RESULT
        },
    }


def ensure_store(
    config: RunConfig, screen: Console, *, dry_run: bool = False, trust_complete: bool = True
) -> StoreState:
    """Return the complete store of `config`, extracting what is missing of it.

    A complete store is taken as it is when the request beside it is the one of `config`, or, with
    `trust_complete`, when there is no request to compare (a store copied from another machine).
    Otherwise the store itself is asked, which refuses another detector, crop or dataset.

    Raises:
        CacheMismatch: the store at this path was made of something else; every key is named.
    """
    path = store_path(config)
    if _is_up_to_date(config, path, trust_complete=trust_complete):
        screen.print(f"{path}: up to date, nothing to extract.", soft_wrap=True)
        return StoreState(path, complete=True)
    dataset = build_dataset(config.dataset.name, **config.dataset.arguments())
    start = time.perf_counter()
    detector = build_detector(config.detector, threads=config.extract.threads)
    loaded = time.perf_counter()
    if dry_run:
        plan = plan_chunks(dataset, detector, config.crop, path, config.extract)
        _say_plan(config, plan, path, screen)
        return StoreState(path, complete=False)
    writable_folder(config.data_root, "data_root")
    rows_per_s: float | None = None
    with Meter(screen) as meter:

        def report(progress: ExtractProgress) -> None:
            nonlocal rows_per_s
            rows_per_s = progress.rows_per_s
            meter.update("extract", min(progress.fraction, 0.999), f"{rows_per_s:.0f} frames/s")

        summary = extract(dataset, detector, config.crop, path, config.extract, progress=report)
        meter.update("extract", 1.0, f"{summary.seconds:.0f} s")
    done = time.perf_counter()
    write_json(_request_file(path), request_of(config))
    seconds = {"load detector": loaded - start, "extract": done - loaded}
    write_json(path.with_suffix(".provenance.json"), provenance(seconds))
    if summary.invalid_by_reason:
        counts = ", ".join(f"{name} {count}" for name, count in summary.invalid_by_reason.items())
        screen.print(f"frames that cannot be used: {counts}", style="yellow", soft_wrap=True)
    screen.print(
        f"{path}: {summary.chunks_skipped} chunks kept, {summary.chunks_done} written",
        soft_wrap=True,
    )
    return StoreState(
        path, True, seconds, {} if rows_per_s is None else {"extract": rows_per_s}, summary
    )


def _is_up_to_date(config: RunConfig, path: Path, *, trust_complete: bool) -> bool:
    if not path.is_dir():
        return False
    try:
        reader = CacheReader(path)
    except CacheIncomplete:
        return False
    request = _request_file(path)
    if not request.is_file():
        return trust_complete
    try:
        asked = request_of(config)
    except DetectorError:
        # Stage 2 runs where the detector's files are not; the store says what made it.
        return trust_complete
    if diff_identities(read_json(request), asked):
        return False
    try:
        dataset = build_dataset(config.dataset.name, **config.dataset.arguments())
    except DatasetError:
        return trust_complete
    return not diff_identities(reader.content_identity, dataset.content_identity())


def _request_file(path: Path) -> Path:
    return path.with_suffix(".request.json")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _say_plan(config: RunConfig, plan: ChunkPlan, path: Path, screen: Console) -> None:
    """Print what an extraction would do and whether the disk has room for it."""
    folder = config.data_root.absolute()
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    screen.print(
        f"would write {len(plan.missing)} of {plan.num_chunks} chunks ({plan.num_rows:,} frames) "
        f"of {path}: {plan.row_bytes / 1e3:.0f} kB per frame, "
        f"{size_text(plan.row_bytes * plan.num_rows)} in all, {size_text(free)} free",
        soft_wrap=True,
    )
