"""A point cache: a finished store in which each map is what it shows at the joints.

The new store is an ordinary one, written chunk by chunk. What reads the maps comes from outside:
the cache knows neither lifters nor how they sample.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError
from cache.header import read_header
from cache.points import POINTS, FeatureDtype, PointSpec
from cache.reader import CacheReader
from cache.schema import CacheSpec, FrameStatus, choose_shard_rows
from cache.skeletons import get_skeleton
from cache.storage import Location, open_storage
from cache.store import PlanTable
from cache.writer import CacheWriter, ChunkData

ReadPoints = Callable[[CacheReader, NDArray[np.int64]], Mapping[str, NDArray[Any]]]
"""Returns per level [n, V, J, C] float32 of the rows [n], whose status is OK, in all views."""


@dataclass(frozen=True)
class PointReport:
    """What was sampled.

    Args:
        target: location of the point cache.
        num_rows: of both stores.
        num_chunks: of the point cache.
        chunks_written: by this call; the others were there.
        rows_written: in them.
        seconds: of the whole call.
    """

    target: str
    num_rows: int
    num_chunks: int
    chunks_written: int
    rows_written: int
    seconds: float


def point_spec(source: CacheSpec, points: PointSpec, dtype: FeatureDtype) -> CacheSpec:
    """Layout of the point cache of a store."""
    joints = get_skeleton(points.skeleton).num_joints
    levels = tuple(replace(level, height=1, width=joints, dtype=None) for level in source.levels)
    return replace(
        source,
        levels=levels,
        dtype=dtype,
        codec="raw",
        inner_rows=1,
        shard_rows=choose_shard_rows(levels, dtype),
        points=points,
    )


def write_points(
    source: Location,
    target: Location,
    points: PointSpec,
    read: ReadPoints,
    *,
    dtype: FeatureDtype = "float16",
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PointReport:
    """Write the point cache of the store `source` at `target`; goes on where it was stopped.

    Rows, keypoints, crops and labels stay as they are, and so does the content identity. The
    feature identity gets the key `points`. Rows that are not OK hold zeros.

    Args:
        source: folder or URL of a finished store.
        target: of the new one.
        points: what is read.
        read: reads it; called from several threads.
        dtype: of the points.
        workers: threads, each with a chunk; None: one per core.
        progress: called with the chunks done and to do after each chunk.

    Raises:
        CacheMissing: there is no such store.
        CacheIncomplete: the source lacks chunks.
        CacheMismatch: there is another store at `target`.
        CacheWriteError: the disk refuses.
        CacheError: the source holds points already, or a value does not fit into float16.
    """
    start = time.perf_counter()
    storage = open_storage(source)
    if storage.location.rstrip("/") == open_storage(target).location.rstrip("/"):
        raise CacheError(f"{storage.location}: points cannot replace their own store; name another")
    reader = CacheReader(source)
    refuse_points(reader)
    header = read_header(storage)
    written = 0
    with (
        CacheWriter.open(
            target,
            spec=point_spec(reader.spec, points, dtype),
            plan=PlanTable(storage, header).plan(),
            feature_identity={**header.feature_identity, POINTS: points.identity(dtype)},
            content_identity=header.content_identity,
        ) as writer,
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
    ):
        todo = writer.missing_chunks()

        def write(chunk: int) -> int:
            rows = np.array(writer.chunk_rows(chunk), dtype=np.int64)
            writer.write_chunk(chunk, _content(reader, rows, writer.spec, read))
            return len(rows)

        try:
            for done, rows_done in enumerate(pool.map(write, todo), start=1):
                written += rows_done
                if progress is not None:
                    progress(done, len(todo))
        except BaseException:
            pool.shutdown(cancel_futures=True)  # or all others would be made before it is told
            raise
        return PointReport(
            target=writer.location,
            num_rows=len(reader),
            num_chunks=writer.num_chunks,
            chunks_written=len(todo),
            rows_written=written,
            seconds=time.perf_counter() - start,
        )


def refuse_points(reader: CacheReader) -> None:
    """Raise `CacheError` if a store holds points already: they cannot be read elsewhere again."""
    points = reader.spec.points
    if points is not None:
        raise CacheError(
            f"{reader.locations[0]} is a point cache itself, of the {points.keypoint_source!r} "
            "keypoints; sample the store that it was made from, which holds the maps"
        )


def _content(
    reader: CacheReader, rows: NDArray[np.int64], spec: CacheSpec, read: ReadPoints
) -> ChunkData:
    """What a chunk of these rows holds."""
    views = range(spec.num_views)
    status = reader.status(rows=rows)
    usable = np.flatnonzero(status == FrameStatus.OK)
    found = read(reader, rows[usable]) if usable.size else {}
    features = {}
    for level in spec.levels:
        shape = (len(rows), spec.num_views, *level.map_shape)
        features[level.name] = np.zeros(shape, dtype=np.float32)
        if usable.size:
            features[level.name][usable] = found[level.name][:, :, None]  # from [n, V, J, C]
    return ChunkData(
        features=features,
        keypoints={
            source: np.stack([reader.keypoints(source, view, rows=rows) for view in views], axis=1)
            for source in spec.keypoint_sources
        },
        crop_affine=np.stack([reader.affine(view, rows=rows) for view in views], axis=1),
        status=status,
    )
