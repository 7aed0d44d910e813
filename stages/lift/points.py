"""Point caches: what the maps of a store show at the joints, as lifters read it there.

A lifter that samples nothing but the joints (`Lifter.reads_points`) then needs a fraction of the
store. What is read is what it would read itself: same joints, same rule, same sampling.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from cache import CacheReader
from cache.derived.points import PointReport, refuse_points, write_points
from cache.points import FeatureDtype, PointSpec
from cache.storage import Location
from lifter.config import ReferenceRule
from lifter.pyramid import geometric_shifts, sample_joints
from stages.lift.feed.maps import level_scales
from stages.lift.feed.samples import input_frames, require_source

CPU = torch.device("cpu")


def describe_points(
    source: Location, *, keypoint_source: str, reference_rule: ReferenceRule
) -> PointSpec:
    """Returns what a point cache of the finished store `source` would hold.

    Raises:
        CacheError: the store is missing, not complete, or a point cache itself.
        LiftError: it does not hold these keypoints.
    """
    reader = CacheReader(source)
    refuse_points(reader)
    require_source(reader, keypoint_source)
    return PointSpec(keypoint_source, reference_rule, reader.label_skeleton.name)


def sample_points(
    source: Location,
    target: Location,
    *,
    keypoint_source: str = "detector",
    reference_rule: ReferenceRule = "published",
    dtype: FeatureDtype = "float16",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PointReport:
    """Writes the point cache of the finished store `source`; goes on where it was stopped.

    Args:
        source: folder or URL of the store with the maps.
        target: of the point cache.
        keypoint_source: joints at which the maps are read.
        reference_rule: `lifter.reference_rule` of the lifters that will read it.
        dtype: of the points; in float32 they are what a lifter would sample, bit for bit.
        workers: threads, each with a chunk; None: one per core.
        progress: called with the chunks done and to do after each chunk.

    Raises:
        CacheError: as `cache.derived.points.write_points`.
        LiftError: the store does not hold these keypoints, or some are not finite.
    """
    points = describe_points(source, keypoint_source=keypoint_source, reference_rule=reference_rule)

    def read(reader: CacheReader, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float32]]:
        return read_points(reader, rows, points)

    return write_points(
        source, target, points, read, dtype=dtype, workers=workers, progress=progress
    )


def read_points(
    reader: CacheReader, rows: NDArray[np.int64], points: PointSpec
) -> dict[str, NDArray[np.float32]]:
    """Returns what every level shows at the joints of the rows [n], in all views: [n, V, J, C].

    8-bit maps are multiplied by their scales.
    """
    num_views, names = len(reader.views), tuple(reader.levels)
    frames = input_frames(reader, rows, points.keypoint_source, flipped=num_views > 1)
    maps = reader.read(
        np.repeat(rows, num_views), levels=names, view=np.tile(np.arange(num_views), len(rows))
    )
    levels = [torch.from_numpy(maps[name]) for name in names]  # [n * V, H, W, C]
    # [V, n, J, 2] -> [n * V, J, 2], the views of a row side by side as its maps are
    references = torch.from_numpy(frames.reference_points).transpose(0, 1).flatten(0, 1)
    shifts = geometric_shifts(references, levels) if points.reference_rule == "geometric" else None
    scales = level_scales(reader, names, CPU)
    with torch.inference_mode():
        seen = sample_joints(references.contiguous(), levels, scales=scales, shifts=shifts)
    return {
        name: each.view(len(rows), num_views, *each.shape[1:]).numpy()  # [n, V, J, C]
        for name, each in zip(names, seen, strict=True)
    }
