"""One store of a reader: what is committed, its chunk arrays, its maps, its plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.errors import CacheCorrupt, CacheIncomplete
from cache.header import read_header
from cache.ledger import Ledger
from cache.maps.blocks import BlockMaps
from cache.maps.local import LocalMaps
from cache.maps.shard_blocks import ShardBlocks, shard_key
from cache.maps.shard_files import OpenFiles, damage_message
from cache.maps.shards import (
    Bytes,
    DamagedBytes,
    map_offsets,
    parse_chunk,
    parse_shard_index,
    shard_index_bytes,
)
from cache.schema import LevelSpec
from cache.storage import Storage
from cache.store import PlanTable
from cache.threads import QUEUE_DEPTH, copying_threads

_MAX_LISTED_CHUNKS = 8
# What differs between stores of the same values.
_NOT_JOINED = ("num_rows", "shard_rows", "codec", "inner_rows")


class Maps(Protocol):
    """A way of reading feature maps."""

    @property
    def block_rows(self) -> int:
        """Rows that are read together; 1 if any order is equally fast."""

    def gather(
        self,
        levels: Sequence[int],
        rows: NDArray[np.intp],
        views: NDArray[np.intp],
        *,
        targets: Sequence[Bytes],
        positions: NDArray[np.intp],
    ) -> None:
        """Copy maps `[B]` of levels, by number, to `targets[level][positions]`, as bytes."""


class StorePart:
    """A store opened for reading; rows are its own, from 0.

    Args:
        storage: where it lies.
        open_files: shared with the stores that are joined with it.
        queue_depth: reads that wait for the disk or the network at once.
    """

    def __init__(
        self,
        storage: Storage,
        open_files: OpenFiles | None = None,
        *,
        queue_depth: int = QUEUE_DEPTH,
    ) -> None:
        self.storage = storage
        self.location = storage.location
        self.header = read_header(storage)
        self.spec = self.header.spec
        self.ledger = Ledger(storage, self.spec.num_chunks)
        self._open_files = OpenFiles() if open_files is None else open_files
        self._queue_depth = queue_depth
        self._level_numbers = {level.name: i for i, level in enumerate(self.spec.levels)}
        self._committed = self._look()

    @cached_property
    def table(self) -> PlanTable:
        """The plan's arrays, opened when first needed."""
        return PlanTable(self.storage, self.header)

    def joinable(self) -> dict[str, Any]:
        """What must be equal in stores that are joined."""
        header = self.header.to_json()
        layout = {k: v for k, v in header["spec"].items() if k not in _NOT_JOINED}
        return {
            "feature_identity": header["feature_identity"],
            "label_skeleton": header["label_skeleton"],
            "spec": layout,
            "scales": self.header.scales,
        }

    def scales(self, level: LevelSpec) -> NDArray[np.float32] | None:
        """`[C]` what a level's 8-bit codes are multiplied by; None for numbers that stand as is."""
        scale = self.header.scales.get(level.name)
        return None if scale is None else np.array(scale, dtype=np.float32)

    def committed_rows(self) -> NDArray[np.bool_]:
        """`[N]` rows that can be read, looked up now."""
        self._committed = self._look()
        return np.repeat(self._committed, self.spec.shard_rows)[: self.spec.num_rows]

    def require(self, chunks: NDArray[np.integer[Any]]) -> None:
        """Raise `CacheIncomplete` unless the chunks are committed; looks again before it does."""
        if self._committed[chunks].all():
            return
        self._committed = self._look()
        missing = np.unique(chunks[~self._committed[chunks]]).tolist()
        if missing:
            listed = ", ".join(map(str, missing[:_MAX_LISTED_CHUNKS]))
            raise CacheIncomplete(
                f"{self.location} has {self._committed.sum()} of {self.spec.num_chunks} chunks "
                f"(missing {listed}{', ...' if len(missing) > _MAX_LISTED_CHUNKS else ''}). "
                "Run the same 'posecache extract' again to resume"
            )

    def _look(self) -> NDArray[np.bool_]:
        """`[num_chunks]` committed chunks, from a fresh listing."""
        committed = np.zeros(self.spec.num_chunks, dtype=np.bool_)
        committed[list(self.ledger.committed())] = True
        return committed

    def chunk_array(self, name: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
        """Shape of one row and dtype of an array that chunk tasks write beside the features."""
        return schema.chunk_arrays(self.spec, self.header.label_skeleton)[name]

    def read_chunk(self, name: str, chunk: int) -> NDArray[Any]:
        """`[shard_rows, ...]` of a committed chunk; raises `CacheCorrupt`."""
        shape, dtype = self.chunk_array(name)
        key = f"{name}/{schema.chunk_key(chunk, len(shape) + 1)}"
        try:
            return parse_chunk(self.storage.read(key), (self.spec.shard_rows, *shape), dtype)
        except (OSError, DamagedBytes) as error:
            rows = self.spec.chunk_rows(chunk)
            raise CacheCorrupt(damage_message(self.location, name, chunk, rows, error)) from error

    def chunk_rows(self, name: str, rows: NDArray[np.intp]) -> NDArray[Any]:
        """`[B, ...]` rows of an array that chunk tasks write beside the features."""
        chunks, places = np.unique(rows // self.spec.shard_rows, return_inverse=True)
        self.require(chunks)
        shape, dtype = self.chunk_array(name)
        stacked = np.empty((len(chunks), self.spec.shard_rows, *shape), dtype=dtype)
        for place, chunk in enumerate(chunks.tolist()):
            stacked[place] = self.read_chunk(name, chunk)
        return stacked[places, rows % self.spec.shard_rows]

    def read_shard(self, level: LevelSpec, chunk: int) -> tuple[Bytes, list[int]]:
        """Bytes of a raw shard, and the offset of map `row * V + view`; raises `CacheCorrupt`."""
        rows = self.spec.chunk_rows(chunk)
        key = shard_key(level, chunk)
        num_maps = len(rows) * self.spec.num_views
        try:
            content = self.storage.read(key)
            index_bytes = shard_index_bytes(self.spec.shard_rows, self.spec.num_views)
            entries = parse_shard_index(
                content[-index_bytes:], file_bytes=len(content), num_chunks=num_maps
            )
            offsets = map_offsets(entries, schema.map_bytes(level, self.spec.dtype))
        except (OSError, DamagedBytes) as error:
            raise CacheCorrupt(
                damage_message(self.location, level.name, chunk, rows, error)
            ) from error
        return np.frombuffer(content, dtype=np.uint8), offsets[:num_maps].tolist()

    @cached_property
    def maps(self) -> Maps:
        """The feature maps, by the way of reading that fits the store."""
        folder = self.storage.folder
        if folder is not None and self.spec.is_mappable:
            return LocalMaps(
                self.location, folder, self.spec, self._open_files, queue_depth=self._queue_depth
            )
        # Decoding needs processors, waiting for a network needs patience.
        depth = self._queue_depth if folder is None else copying_threads()
        return BlockMaps(ShardBlocks(self.storage, self.spec), self.spec, queue_depth=depth)

    def gather(
        self,
        levels: Sequence[LevelSpec],
        rows: NDArray[np.intp],
        views: NDArray[np.intp],
        *,
        out: Mapping[str, NDArray[Any]],
        positions: NDArray[np.intp],
    ) -> None:
        """Copy maps to `out[level][positions]`.

        Args:
            levels: which maps.
            rows: `[B]` rows of this store.
            views: `[B]`.
            out: `[.., H, W, C]` by level, C-contiguous.
            positions: `[B]`.

        Raises:
            CacheIncomplete: a row is not committed.
            CacheCorrupt: a map is damaged; checksums are tested on first touch.
        """
        if not rows.size or not levels:
            return
        self.require(rows // self.spec.shard_rows)
        targets = [
            out[level.name].view(np.uint8).reshape(len(out[level.name]), -1) for level in levels
        ]
        self.maps.gather(
            [self._level_numbers[level.name] for level in levels],
            rows,
            views,
            targets=targets,
            positions=positions,
        )
