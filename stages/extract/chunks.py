"""Stage 1: pictures through a frozen detector into a store, chunk by chunk."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import CacheReader, CacheSpec, CacheWriter, ChunkData, FrameStatus, RowPlan
from cache.coords import apply_affine, invert_affine
from cache.ledger import Ledger
from cache.schema import View, choose_shard_rows, map_bytes
from cache.storage import open_storage
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset, FrameError
from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.extraction import (
    ChunkPlan,
    ExtractConfig,
    ExtractProgress,
    ExtractSummary,
)
from stages.extract.frames import Frame, FrameTask
from stages.extract.loading import Loader

_LARGEST = {"float16": 65519.0, "float32": float(np.finfo(np.float32).max)}
"""Largest magnitude that does not become infinite in the store."""

__all__ = [
    "ChunkPlan",
    "ExtractConfig",
    "ExtractProgress",
    "ExtractSummary",
    "cache_spec",
    "extract",
    "feature_identity",
    "plan_chunks",
    "run_chunk",
]


def extract(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    path: str | Path,
    config: ExtractConfig | None = None,
    *,
    progress: Callable[[ExtractProgress], None] | None = None,
) -> ExtractSummary:
    """Fill the store at `path` with whatever chunks it lacks, and return what was done.

    Loading, the network and writing overlap. Called again after a kill, it ends with the same
    bytes.

    Raises:
        DetectorError: the crop is not of the detector's input size.
        CacheMismatch: the store was made by another detector, crop or dataset.
        CacheWriteError: the disk refuses.
        FrameError: with `strict`, the first frame that cannot be used.
    """
    config = config or ExtractConfig()
    began = time.perf_counter()
    plan = dataset.plan()
    spec = cache_spec(plan, detector, crop, config)
    with CacheWriter.open(
        path,
        spec=spec,
        plan=plan,
        feature_identity=feature_identity(detector, crop, config),
        content_identity=dataset.content_identity(),
    ) as writer:
        missing = writer.missing_chunks()
        todo = [row for chunk in missing for row in writer.chunk_rows(chunk)]
        reasons: Counter[str] = Counter()
        if todo:
            task = FrameTask(dataset, crop)
            processes = dataset.cpu_bound and config.loader_workers > 0
            with Loader(task, workers=config.loader_workers, processes=processes) as loader:
                frames = _counted(loader.map(todo), len(todo), began, progress)
                _fill(writer, missing, frames, detector, plan, config, reasons)
    return ExtractSummary(
        path=Path(path),
        rows=len(plan),
        chunks_done=len(missing),
        chunks_skipped=spec.num_chunks - len(missing),
        invalid_by_reason=_invalid_of_store(Path(path), reasons),
        seconds=time.perf_counter() - began,
    )


def plan_chunks(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    path: str | Path,
    config: ExtractConfig | None = None,
) -> ChunkPlan:
    """Return what `extract` would do, without writing anything."""
    spec = cache_spec(dataset.plan(), detector, crop, config or ExtractConfig())
    path = Path(path)
    missing = (
        Ledger(open_storage(path), spec.num_chunks).missing()
        if path.is_dir()
        else range(spec.num_chunks)
    )
    row_bytes = spec.num_views * sum(map_bytes(level, spec.dtype) for level in spec.levels)
    return ChunkPlan(spec.num_rows, spec.num_chunks, tuple(missing), row_bytes)


def cache_spec(
    plan: RowPlan, detector: FrozenDetector, crop: CropConfig, config: ExtractConfig
) -> CacheSpec:
    """Return the layout of the store; raises DetectorError where crop and detector do not fit."""
    if crop.input_size != detector.input_size:
        raise DetectorError(
            f"The crop is {crop.input_size} (H, W), but the detector takes {detector.input_size}: "
            f"set crop.input_size to {list(detector.input_size)}."
        )
    views: tuple[View, ...] = ("plain", "flipped") if crop.flip else ("plain",)
    return CacheSpec(
        num_rows=len(plan),
        levels=detector.levels,
        skeleton=detector.skeleton.name,
        crop_size=crop.input_size,
        shard_rows=config.shard_rows or choose_shard_rows(detector.levels, config.dtype),
        views=views,
        dtype=config.dtype,
        keypoint_sources=("detector", "gt"),
    )


def feature_identity(
    detector: FrozenDetector, crop: CropConfig, config: ExtractConfig
) -> dict[str, Any]:
    """Return what decides the numbers of a store, given the pictures."""
    return {
        "detector": detector.identity(),
        "crop": crop.model_dump(mode="json"),
        "flip_rule": "pixels mirrored after cropping, x -> W-1-x" if crop.flip else None,
        "batch_size": config.batch_size,
        "threads": config.threads,
        "dtype": config.dtype,
    }


def run_chunk(
    frames: list[Frame], detector: FrozenDetector, plan: RowPlan, config: ExtractConfig
) -> ChunkData:
    """Return what a chunk of R frames holds; frames that are unusable have zeros everywhere."""
    num_views = frames[0].crops.shape[0]
    swap = detector.skeleton.swap
    status = np.array([frame.status for frame in frames], dtype=np.uint8)
    affine = np.stack([frame.affine for frame in frames])  # [R, V, 2, 3]
    crops = np.concatenate([frame.crops for frame in frames])  # [R * V, H, W, 3]
    num_crops = len(crops)
    dtype = np.dtype(config.dtype)
    features = {
        level.name: np.zeros((num_crops, *level.map_shape), dtype=dtype)
        for level in detector.levels
    }
    points = np.zeros((num_crops, detector.skeleton.num_joints, 3), dtype=np.float32)
    finite = np.ones(num_crops, dtype=bool)
    batch = np.zeros((config.batch_size, *crops.shape[1:]), dtype=np.uint8)
    for start in range(0, num_crops, config.batch_size):
        count = min(config.batch_size, num_crops - start)
        used = slice(start, start + count)
        batch[:count], batch[count:] = crops[used], 0
        found = detector.detect(batch)
        points[used] = found.keypoints_crop_px[:count]
        finite[used] &= np.isfinite(points[used]).all(axis=(1, 2))
        for name, maps in found.features.items():
            finite[used] &= _storable(maps[:count], config.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # such rows become zeros below
                features[name][used] = maps[:count]
    row_finite = finite.reshape(-1, num_views).all(axis=1)
    status[(status == FrameStatus.OK) & ~row_finite] = FrameStatus.NOT_FINITE
    bad = status != FrameStatus.OK
    by_row = points.reshape(-1, num_views, *points.shape[1:])
    keypoints = np.zeros(by_row.shape, dtype=np.float32)
    good = ~bad
    if good.any():
        keypoints[good] = _to_picture(by_row[good], affine[good], swap)
    stored = {}
    for name, maps in features.items():
        stored[name] = maps.reshape(-1, num_views, *maps.shape[1:])
        stored[name][bad] = 0
    affine[bad] = 0
    truth = _labels(plan, [frame.row for frame in frames], num_views)
    truth[bad] = 0
    return ChunkData(
        features=stored,
        keypoints={"detector": keypoints, "gt": truth},
        crop_affine=affine,
        status=status,
    )


def _fill(
    writer: CacheWriter,
    chunks: list[int],
    frames: Iterator[Frame],
    detector: FrozenDetector,
    plan: RowPlan,
    config: ExtractConfig,
    reasons: Counter[str],
) -> None:
    with ThreadPoolExecutor(1, thread_name_prefix="posecache-writer") as pool:
        pending: Future[bool] | None = None
        for chunk in chunks:
            members = list(islice(frames, len(writer.chunk_rows(chunk))))
            if config.strict:
                _refuse_unusable(members)
            content = run_chunk(members, detector, plan, config)
            if pending is not None:
                pending.result()  # one chunk is written while the next one is computed
            pending = pool.submit(writer.write_chunk, chunk, content)
            bad = content.status[content.status != FrameStatus.OK]
            if config.strict and bad.size:
                raise FrameError(
                    FrameStatus(int(bad[0])), f"Chunk {chunk}: the detector's output is not finite."
                )
            reasons.update(FrameStatus(int(code)).name.lower() for code in bad)
        if pending is not None:
            pending.result()


def _refuse_unusable(frames: Iterable[Frame]) -> None:
    for frame in frames:
        if frame.status != FrameStatus.OK:
            raise FrameError(
                frame.status,
                f"Row {frame.row} cannot be used ({frame.status.name.lower()}): {frame.message} "
                "Repair it, or extract without strict to record it and go on.",
            )


def _counted(
    frames: Iterator[Frame],
    num_rows: int,
    began: float,
    progress: Callable[[ExtractProgress], None] | None,
) -> Iterator[Frame]:
    for count, frame in enumerate(frames):
        if progress is not None:
            progress(ExtractProgress(count, num_rows, time.perf_counter() - began))
        yield frame


def _storable(maps: NDArray[np.float32], dtype: str) -> NDArray[np.bool_]:
    flat = maps.reshape(len(maps), -1)
    limit = _LARGEST[dtype]
    # NaN makes both comparisons False
    finite: NDArray[np.bool_] = (flat.max(axis=1) <= limit) & (flat.min(axis=1) >= -limit)
    return finite


def _to_picture(
    points: NDArray[np.float32], affine: NDArray[np.float64], swap: NDArray[np.intp]
) -> NDArray[np.float32]:
    """Crop px [R, V, J, 3] to px of the unmirrored picture, sides exchanged in view 1."""
    placed = points.copy()
    placed[..., :2] = apply_affine(invert_affine(affine), points[..., :2])
    if placed.shape[1] == 2:
        placed[:, 1] = placed[:, 1][:, swap]
    return placed


def _labels(plan: RowPlan, rows: list[int], num_views: int) -> NDArray[np.float32]:
    truth = np.concatenate(
        [plan.joints_2d_px[rows], plan.valid[rows].astype(np.float32)[..., None]], axis=-1
    )
    return np.repeat(truth[:, None], num_views, axis=1)


def _invalid_of_store(path: Path, fallback: Counter[str]) -> dict[str, int]:
    reader = CacheReader(path, allow_incomplete=True)
    if not reader.complete:  # another process still writes some of it
        return dict(fallback)
    counts = np.bincount(reader.status(), minlength=len(FrameStatus))
    return {
        status.name.lower(): int(counts[status])
        for status in FrameStatus
        if status != FrameStatus.OK and counts[status]
    }
