"""What a chunk holds in a store: read whole, and compared with what it should be."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.errors import CacheCorrupt
from cache.maps.shards import as_bytes
from cache.part import StorePart
from cache.schema import LevelSpec
from cache.writer import ChunkData


def read_rows(part: StorePart, name: str, rows: range) -> NDArray[Any]:
    """`[R, ...]` of an array beside the features."""
    return part.chunk_rows(name, np.arange(rows.start, rows.stop))


def read_maps(part: StorePart, level: LevelSpec, rows: range) -> NDArray[Any]:
    """`[R, V, H, W, C]` as they are stored."""
    shape = (len(rows), part.spec.num_views, *level.map_shape)
    maps = np.empty(shape, dtype=part.spec.level_dtype(level))
    flat = maps.reshape(-1, *level.map_shape)
    numbers, views = np.divmod(np.arange(len(flat)), part.spec.num_views)
    part.gather(
        [level],
        numbers + rows.start,
        views,
        out={level.name: flat},
        positions=np.arange(len(flat)),
    )
    return maps


def difference(part: StorePart, rows: range, data: ChunkData) -> str | None:
    """What is stored otherwise than it was meant; None if nothing is."""
    meant = {
        **{schema.keypoints_path(source): values for source, values in data.keypoints.items()},
        schema.AFFINE: data.crop_affine,
        schema.STATUS: data.status,
    }
    try:
        for name, values in meant.items():
            if not _same_bytes(read_rows(part, name, rows), values):
                return f"{name} has other numbers"
        for level in part.spec.levels:
            if not _same_bytes(read_maps(part, level, rows), data.features[level.name]):
                return f"{schema.feature_path(level.name)} has other numbers"
    except CacheCorrupt as error:
        return str(error)
    return None


def _same_bytes(stored: NDArray[Any], meant: NDArray[Any]) -> bool:
    """Whether two arrays of one type agree to the last bit, the sign of zero included."""
    one, other = as_bytes(stored), as_bytes(meant)
    if one.size % 8 == other.size % 8 == 0:
        # An eighth of the comparisons.
        one, other = one.view(np.uint64), other.view(np.uint64)
    return np.array_equal(one, other)
