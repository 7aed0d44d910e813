"""What an extraction would do, cost and take; nothing is written to find out."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from cache import RowPlan
from cache.storage import is_url
from pipeline.config import RunConfig
from pipeline.extraction.rate import measure_speed
from pipeline.extraction.workers import num_workers
from pipeline.stores.bad_frame_list import missing_pictures
from pipeline.stores.tables import counts_text, size_text
from stages.extract.chunks import ChunkPart, ChunkPlan
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.jobs import cache_spec, plan_chunks

_BOXES = {
    "gt3d": "by the true 3D root, as published results are: they tell a lifter about distance",
    "gt2d": "around the true 2D joints: results are those of perfect boxes",
    "imported": "come with the dataset",
    "detector": "found by a person detector",
    "full": "the whole picture",
}
_TOO_LARGE = (
    "Keep fewer levels (detector.taps) or one view (crop.flip=false), fewer frames "
    "(dataset.options: stride, limit, subjects), or another disk (data_root). A finished store "
    "becomes half as large with: posecache cache recode STORE OUT --dtype uint8."
)


@dataclass(frozen=True)
class ExtractPlan:
    """What an extraction would do; figures in rows and bytes are of both views."""

    path: str
    num_rows: int
    num_chunks: int
    num_chunks_done: int
    num_chunks_todo: int
    num_rows_todo: int
    rows_by_split: dict[str, int]
    views: tuple[str, ...]
    row_bytes: int
    total_bytes: int
    todo_bytes: int
    free_bytes: int | None
    """None where a store is no folder."""
    num_missing_pictures: int
    first_missing: tuple[str, ...]
    box_source: str
    box_note: str
    keypoint_sources: tuple[str, ...]
    workers: int
    rows_per_s: float | None
    """None where nothing is to do, or a cluster would do it."""
    seconds_left: float | None

    @property
    def fits(self) -> bool:
        """Whether the disk has room for what is to do, as far as one can tell."""
        return self.free_bytes is None or self.todo_bytes <= self.free_bytes

    def as_json(self) -> dict[str, Any]:
        """Return the plan as JSON values; `complete` is False where something is to do."""
        return {**asdict(self), "fits": self.fits, "complete": self.num_chunks_todo == 0}


def plan_extraction(
    config: RunConfig,
    dataset: Dataset,
    detector: FrozenDetector,
    store: str,
    part: ChunkPart | None = None,
) -> ExtractPlan:
    """Return what extracting into `store` would do; two batches run to tell how long it takes."""
    rows = dataset.plan()
    spec = cache_spec(rows, dataset.imported_keypoints(), detector, config.crop, config.extract)
    chunks = plan_chunks(dataset, detector, config.crop, store, config.extract, part=part)
    todo = _rows_of(chunks, spec.shard_rows)
    missing = missing_pictures(rows)
    workers = num_workers(config, len(chunks.missing)) if chunks.missing else 0
    rate = None
    if len(todo) and config.extract.scheduler is None:
        speed = measure_speed(config, dataset, detector, rows, todo)
        rate = speed.rows_per_s(config, workers)
    return ExtractPlan(
        path=store,
        num_rows=chunks.num_rows,
        num_chunks=chunks.num_chunks,
        num_chunks_done=chunks.num_done,
        num_chunks_todo=len(chunks.missing),
        num_rows_todo=len(todo),
        rows_by_split=_rows_by_split(rows),
        views=spec.views,
        row_bytes=chunks.row_bytes,
        total_bytes=chunks.row_bytes * chunks.num_rows,
        todo_bytes=chunks.row_bytes * len(todo),
        free_bytes=_free_bytes(config.data_root),
        num_missing_pictures=len(missing),
        first_missing=tuple(missing[:5]),
        box_source=config.crop.box_source,
        box_note=_BOXES.get(config.crop.box_source, "boxes that were found"),
        keypoint_sources=spec.keypoint_sources,
        workers=workers,
        rows_per_s=rate,
        seconds_left=None if rate is None else len(todo) / rate,
    )


def say_plan(plan: ExtractPlan, screen: Console) -> None:
    """Print the plan, in red where the disk is too small."""
    todo = f"{plan.num_chunks_todo} of {plan.num_chunks} chunks"
    lines = [
        f"would write {todo} ({plan.num_rows_todo:,} of {plan.num_rows:,} frames) of {plan.path}",
        f"  size: {size_text(plan.row_bytes)} per frame ({' + '.join(plan.views)}), "
        f"{size_text(plan.todo_bytes)} to write, {size_text(plan.total_bytes)} in all"
        + ("" if plan.free_bytes is None else f", {size_text(plan.free_bytes)} free"),
        f"  splits: {counts_text(plan.rows_by_split)}",
        f"  boxes: {plan.box_source}, {plan.box_note}",
        f"  keypoints: {', '.join(plan.keypoint_sources)}",
    ]
    if plan.rows_per_s is not None and plan.seconds_left is not None:
        lines.append(
            f"  time: about {duration_text(plan.seconds_left)} on this machine at "
            f"{plan.rows_per_s:.3g} frames/s with {plan.workers} "
            f"worker{'' if plan.workers == 1 else 's'} (from two batches)"
        )
    for line in lines:
        screen.print(line, soft_wrap=True)
    if plan.num_missing_pictures:
        names = ", ".join(plan.first_missing)
        more = ", ..." if plan.num_missing_pictures > len(plan.first_missing) else ""
        screen.print(
            f"  missing pictures: of {plan.num_missing_pictures:,} frames: {names}{more}",
            style="yellow",
            soft_wrap=True,
        )
    if not plan.fits:
        assert plan.free_bytes is not None
        lacking = size_text(plan.todo_bytes - plan.free_bytes)
        screen.print(f"  does not fit: {lacking} too little. {_TOO_LARGE}", style="red")


def duration_text(seconds: float) -> str:
    """Return e.g. `40 s`, `12 min`, `3.4 h`, `2 days`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 100 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 48 else f"{timedelta(hours=hours).days} days"


def _rows_by_split(plan: RowPlan) -> dict[str, int]:
    """Return the rows of every split, also of those that have none."""
    column = plan.index["split"]
    counts = np.bincount(column.codes, minlength=len(column.vocabulary or ()))
    return dict(zip(column.vocabulary or (), counts.tolist(), strict=True))


def _rows_of(chunks: ChunkPlan, shard_rows: int) -> np.ndarray[Any, np.dtype[np.intp]]:
    ranges = [
        np.arange(chunk * shard_rows, min((chunk + 1) * shard_rows, chunks.num_rows))
        for chunk in chunks.missing
    ]
    return np.concatenate([np.zeros(0, dtype=np.intp), *ranges]).astype(np.intp)


def _free_bytes(data_root: str) -> int | None:
    if is_url(data_root):
        return None
    folder = Path(data_root).absolute()
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free
