"""Feature maps that are read in blocks of rows: what is compressed, or far away."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from threading import Lock
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.maps.shards import Bytes
from cache.schema import CacheSpec
from cache.threads import share

CACHED_BYTES = 1 << 30
"""Decoded blocks that one store keeps: a window of `shuffled` should fit."""

Block = tuple[int, int, int]  # level, first row, first view


class Source(Protocol):
    """Where blocks come from."""

    @property
    def block_rows(self) -> int:
        """Rows of a block."""

    @property
    def block_views(self) -> int:
        """Views that a block holds, neighbours."""

    @property
    def reads_single_maps(self) -> bool:
        """Whether one map costs less than its block."""

    def fetch(self, level: int, rows: range, views: range) -> Bytes:
        """`[rows, views, bytes of a map]`, all of one chunk; raises `CacheCorrupt`."""


class BlockMaps:
    """Gathers maps block by block: each block is read once per batch, and kept for the next ones.

    Args:
        source: where blocks come from.
        spec: layout of the store.
        queue_depth: blocks that are read at once.
    """

    def __init__(self, source: Source, spec: CacheSpec, *, queue_depth: int) -> None:
        self._source = source
        self._spec = spec
        self._queue_depth = queue_depth
        self._blocks = _RecentBlocks(CACHED_BYTES)

    @property
    def block_rows(self) -> int:
        """Rows that are read together."""
        return self._source.block_rows

    def gather(
        self,
        levels: Sequence[int],
        rows: NDArray[np.intp],
        views: NDArray[np.intp],
        *,
        targets: Sequence[Bytes],
        positions: NDArray[np.intp],
    ) -> None:
        """Copy maps to `targets[level][positions]`; see `LocalMaps.gather`."""
        jobs = list(self._group(rows, views))
        work = iter([(number, job) for number in range(len(levels)) for job in jobs])

        def read() -> None:
            for number, members in work:
                maps = self._maps(levels[number], rows[members], views[members])
                targets[number][positions[members]] = maps

        share(read, min(self._queue_depth, len(jobs) * len(levels)))

    def _group(self, rows: NDArray[np.intp], views: NDArray[np.intp]) -> Iterator[NDArray[np.intp]]:
        """Members of each block, as positions in `rows`."""
        groups = views // self._source.block_views
        keys = rows // self._source.block_rows * self._spec.num_views + groups
        order = keys.argsort(kind="stable")
        starts = np.flatnonzero(np.diff(keys[order])) + 1
        yield from np.split(order, starts)

    def _maps(self, level: int, rows: NDArray[np.intp], views: NDArray[np.intp]) -> Bytes:
        """`[B, bytes of a map]` of rows in one block."""
        source = self._source
        row, view = int(rows[0]), int(views[0])
        first, first_view = row - row % source.block_rows, view - view % source.block_views
        block = self._blocks.get((level, first, first_view))
        if block is None:
            alone = (rows == row).all() and (views == view).all()
            if alone and source.reads_single_maps:
                single = source.fetch(level, range(row, row + 1), range(view, view + 1))
                return single.reshape(1, -1)
            # Several of one block are no coincidence: rows are shuffled in windows of blocks.
            stop = min(first + source.block_rows, self._spec.num_rows)
            block_views = range(first_view, first_view + source.block_views)
            block = source.fetch(level, range(first, stop), block_views)
            self._blocks.put((level, first, first_view), block)
        maps: Bytes = block[rows - first, views - first_view]
        return maps


class _RecentBlocks:
    """The most recently used blocks up to a size; usable from several threads."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._size_bytes = 0
        self._blocks: OrderedDict[Block, Bytes] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Block) -> Bytes | None:
        """The block if it is still there."""
        with self._lock:
            block = self._blocks.get(key)
            if block is not None:
                self._blocks.move_to_end(key)
            return block

    def put(self, key: Block, block: Bytes) -> None:
        """Keep a block, instead of the ones that were not used for longest."""
        with self._lock:
            replaced = self._blocks.pop(key, None)
            self._size_bytes += block.nbytes - (0 if replaced is None else replaced.nbytes)
            self._blocks[key] = block
            while self._size_bytes > self._limit_bytes:
                self._size_bytes -= self._blocks.popitem(last=False)[1].nbytes


def rows_of_bytes(spec: CacheSpec, size_bytes: int) -> int:
    """Rows of a chunk whose largest maps, all views, reach a size; doubled from `inner_rows`."""
    row_bytes = spec.num_views * max(schema.map_bytes(level, spec.dtype) for level in spec.levels)
    rows = spec.inner_rows
    while rows < spec.shard_rows and rows * row_bytes < size_bytes:
        rows *= 2
    return min(rows, spec.shard_rows)
