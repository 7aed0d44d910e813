"""What a chunk of a store holds: frames through the detector, as plain arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cache import ChunkData, FrameStatus, RowPlan
from cache.coords import apply_affine, invert_affine
from cache.imported import PREFIX, ImportedKeypoints
from stages.extract.datasets.base import FrameError
from stages.extract.detectors.base import FrozenDetector
from stages.extract.extraction import ExtractConfig
from stages.extract.frames import Frame

NO_IMPORTS: Mapping[str, ImportedKeypoints] = MappingProxyType({})
_LARGEST = {"float16": 65519.0, "float32": float(np.finfo(np.float32).max)}
"""Largest magnitude that does not become infinite in the store."""


def run_chunk(
    frames: list[Frame],
    detector: FrozenDetector,
    plan: RowPlan,
    config: ExtractConfig,
    imported: Mapping[str, ImportedKeypoints] = NO_IMPORTS,
) -> ChunkData:
    """Return what a chunk of R frames holds; frames that are unusable have zeros everywhere.

    Raises:
        FrameError: with `strict`, the first frame that cannot be used.
    """
    if config.strict:
        _refuse_unusable(frames)
    num_views = frames[0].crops.shape[0]
    skeleton = detector.skeleton
    status = np.array([frame.status for frame in frames], dtype=np.uint8)
    affine = np.stack([frame.affine for frame in frames])  # [R, V, 2, 3]
    crops = np.concatenate([frame.crops for frame in frames])  # [R * V, H, W, 3]
    num_crops = len(crops)
    dtype = np.dtype(config.dtype)
    features = {
        level.name: np.zeros((num_crops, *level.map_shape), dtype=dtype)
        for level in detector.levels
    }
    num_joints = 0 if skeleton is None else skeleton.num_joints
    points = np.zeros((num_crops, num_joints, 3), dtype=np.float32)
    finite = np.ones(num_crops, dtype=bool)
    batch = np.zeros((config.batch_size, *crops.shape[1:]), dtype=np.uint8)
    for start in range(0, num_crops, config.batch_size):
        count = min(config.batch_size, num_crops - start)
        used = slice(start, start + count)
        batch[:count], batch[count:] = crops[used], 0
        found = detector.detect(batch)
        if found.keypoints_crop_px is not None:
            points[used] = found.keypoints_crop_px[:count]
            finite[used] &= np.isfinite(points[used]).all(axis=(1, 2))
        for name, maps in found.features.items():
            finite[used] &= _storable(maps[:count], config.dtype)
            with np.errstate(over="ignore", invalid="ignore"):  # such rows become zeros below
                features[name][used] = maps[:count]
    row_finite = finite.reshape(-1, num_views).all(axis=1)
    not_finite = (status == FrameStatus.OK) & ~row_finite
    if config.strict and not_finite.any():
        raise FrameError(
            FrameStatus.NOT_FINITE,
            f"Row {frames[int(np.argmax(not_finite))].row}: the detector's output is not finite, "
            f"or too large for {config.dtype}.",
        )
    status[not_finite] = FrameStatus.NOT_FINITE
    bad = status != FrameStatus.OK
    rows = [frame.row for frame in frames]
    keypoints = {}
    if skeleton is not None:
        by_row = points.reshape(len(frames), num_views, num_joints, 3)
        keypoints["detector"] = np.zeros(by_row.shape, dtype=np.float32)
        if not bad.all():
            placed = _to_picture(by_row[~bad], affine[~bad], skeleton.swap)
            keypoints["detector"][~bad] = placed
    given = {PREFIX + name: source.of_rows(rows, num_views) for name, source in imported.items()}
    if plan.valid.any():
        given["gt"] = np.repeat(_labels(plan, rows)[:, None], num_views, axis=1)
    for source, values in given.items():
        keypoints[source] = values
        keypoints[source][bad] = 0
    stored = {}
    for name, maps in features.items():
        stored[name] = maps.reshape(-1, num_views, *maps.shape[1:])
        stored[name][bad] = 0
    affine[bad] = 0
    return ChunkData(
        features=stored,
        keypoints=keypoints,
        crop_affine=affine,
        status=status,
    )


def _refuse_unusable(frames: Iterable[Frame]) -> None:
    for frame in frames:
        if frame.status != FrameStatus.OK:
            raise FrameError(
                frame.status,
                f"Row {frame.row} cannot be used ({frame.status.name.lower()}): {frame.message} "
                "Repair it, or extract without strict to record it and go on.",
            )


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


def _labels(plan: RowPlan, rows: list[int]) -> NDArray[np.float32]:
    return np.concatenate(
        [plan.joints_2d_px[rows], plan.valid[rows].astype(np.float32)[..., None]], axis=-1
    )
