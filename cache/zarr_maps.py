"""Feature maps as zarr reads them: compressed stores, and stores whose objects are not files."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.abc.store import RangeByteRequest
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync

from cache import schema
from cache.blocks import rows_of_bytes
from cache.errors import CacheCorrupt
from cache.schema import CRC_BYTES, CacheSpec, LevelSpec
from cache.shard_files import damage_message
from cache.shards import (
    Bytes,
    DamagedBytes,
    checksum_fits,
    parse_shard_index,
    shard_index_bytes,
)
from cache.storage import Storage

# A request costs some ten milliseconds and then flows: blocks this large spend most of the time
# on bytes, and are still small enough that a window of many of them fits into memory.
REQUEST_BYTES = 4 << 20


class ZarrBlocks:
    """Blocks of a compressed store, decoded by zarr, through zarrs where that is installed."""

    block_views = 1
    reads_single_maps = False

    def __init__(self, storage: Storage, spec: CacheSpec) -> None:
        self._storage = storage
        self._spec = spec
        self._is_local = storage.folder is not None
        self.block_rows = spec.inner_rows if self._is_local else rows_of_bytes(spec, REQUEST_BYTES)
        self._present: set[str] = set()

    @cached_property
    def _arrays(self) -> list[zarr.Array[Any]]:
        with zarr.config.set(_pipeline(self._is_local)):
            group = zarr.open_group(self._storage.zarr_store(), mode="r")
            arrays: Any = [group[schema.feature_path(level.name)] for level in self._spec.levels]
        return list(arrays)

    def fetch(self, level: int, rows: range, views: range) -> Bytes:
        """`[rows, views, bytes of a map]` of one chunk; raises `CacheCorrupt`."""
        spec = self._spec.levels[level]
        try:
            self._require(spec, rows.start // self._spec.shard_rows)
            values = np.asarray(
                self._arrays[level][rows.start : rows.stop, views.start : views.stop]
            )
        # Each codec and each pipeline has its own errors for bytes that it does not understand.
        except Exception as error:
            raise _damaged(self._storage, self._spec, spec, rows, error) from error
        return np.ascontiguousarray(values).view(np.uint8).reshape(len(rows), len(views), -1)

    def _require(self, level: LevelSpec, chunk: int) -> None:
        """Refuse a lost object, for which zarr would return zeros."""
        key = shard_key(level, chunk)
        if key not in self._present:
            if not self._storage.has(key):
                raise FileNotFoundError(f"there is no {key}")
            self._present.add(key)


class ObjectBlocks:
    """Blocks of a raw store whose shards are objects, by ranges; a shard's index is read once."""

    reads_single_maps = True

    def __init__(self, storage: Storage, spec: CacheSpec) -> None:
        self._storage = storage
        self._spec = spec
        self.block_rows = rows_of_bytes(spec, REQUEST_BYTES)
        # Views of a row lie side by side, so that both come with one request.
        self.block_views = spec.num_views
        self._offsets: dict[str, NDArray[np.int64]] = {}

    @cached_property
    def _group(self) -> zarr.Group:
        return zarr.open_group(self._storage.zarr_store(), mode="r")

    def fetch(self, level: int, rows: range, views: range) -> Bytes:
        """`[rows, views, bytes of a map]` of one chunk; raises `CacheCorrupt`."""
        spec = self._spec.levels[level]
        chunk = rows.start // self._spec.shard_rows
        try:
            offsets = self._index(spec, chunk).reshape(-1, self._spec.num_views)
            first = rows.start - chunk * self._spec.shard_rows
            return self._maps(spec, chunk, offsets[first : first + len(rows), views])
        except (OSError, DamagedBytes) as error:
            raise _damaged(self._storage, self._spec, spec, rows, error) from error

    def _maps(self, level: LevelSpec, chunk: int, offsets: NDArray[np.int64]) -> Bytes:
        size = schema.map_bytes(level, self._spec.dtype)
        start, stop = int(offsets.min()), int(offsets.max()) + size + CRC_BYTES
        content = self._read(shard_key(level, chunk), start, stop)
        if content.size != stop - start:
            raise DamagedBytes(f"the object ends at byte {start + content.size}")
        maps = np.empty((offsets.size, size), dtype=np.uint8)
        for values, offset in zip(maps, offsets.reshape(-1) - start, strict=True):
            values[:] = content[offset : offset + size]
            if not checksum_fits(values, content[offset + size : offset + size + CRC_BYTES]):
                raise DamagedBytes("a map fails its checksum")
        return maps.reshape(*offsets.shape, size)

    def _index(self, level: LevelSpec, chunk: int) -> NDArray[np.int64]:
        key = shard_key(level, chunk)
        if key not in self._offsets:
            tail_bytes = shard_index_bytes(self._spec.shard_rows, self._spec.num_views)
            tail, file_bytes = self._storage.tail(key, tail_bytes)
            self._offsets[key] = parse_shard_index(
                tail,
                file_bytes=file_bytes,
                num_maps=len(self._spec.chunk_rows(chunk)) * self._spec.num_views,
                map_size_bytes=schema.map_bytes(level, self._spec.dtype),
            )
        return self._offsets[key]

    def _read(self, key: str, start: int, stop: int) -> Bytes:
        store, prefix = self._group.store, self._group.path
        path = f"{prefix}/{key}" if prefix else key
        span = RangeByteRequest(start, stop)
        found = sync(store.get(path, default_buffer_prototype(), byte_range=span))
        if found is None:
            raise FileNotFoundError(f"there is no {key}")
        return np.frombuffer(found.to_bytes(), dtype=np.uint8)


def shard_key(level: LevelSpec, chunk: int) -> str:
    """Object of a shard."""
    return f"{schema.feature_path(level.name)}/{schema.chunk_key(chunk, 5)}"


def _pipeline(is_local: bool) -> dict[str, str]:
    if is_local and importlib.util.find_spec("zarrs") is not None:
        return {"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"}
    return {}


def _damaged(
    storage: Storage, spec: CacheSpec, level: LevelSpec, rows: range, error: Exception
) -> CacheCorrupt:
    chunk = rows.start // spec.shard_rows
    return CacheCorrupt(damage_message(storage.location, level.name, chunk, rows, str(error)))
