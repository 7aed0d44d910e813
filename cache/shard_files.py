"""Mapped shard files: rows gathered by the shard index, checksums on first touch."""

from __future__ import annotations

import mmap
import os
import resource
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np

from cache import schema
from cache.errors import CacheCorrupt
from cache.schema import CacheSpec, LevelSpec
from cache.shards import Bytes, DamagedBytes, parse_shard_index

MAX_OPEN_FILES = 512

Key = tuple[str, str, int]  # store, level, chunk


@dataclass(frozen=True, eq=False)
class MappedShard:
    """An open shard, as an array and as a memoryview; entry `row * V + view` is one map's."""

    data: Bytes
    source: memoryview
    offsets: list[int]
    checked: bytearray


class ShardFiles:
    """The most recently used shard files, mapped; shared by threads and by joined stores."""

    def __init__(self) -> None:
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = max(1, min(MAX_OPEN_FILES, soft_limit // 2))
        self._lock = Lock()
        self._open: OrderedDict[Key, MappedShard] = OrderedDict()
        # What was checked outlives the map, as long as the file stays the same one.
        self._checked: dict[Key, tuple[tuple[int, ...], bytearray]] = {}

    @property
    def num_open(self) -> int:
        """Files mapped now; each map holds a descriptor."""
        return len(self._open)

    def get(self, store: str, spec: CacheSpec, level: LevelSpec, chunk: int) -> MappedShard:
        """The mapped shard; raises `CacheCorrupt` if its size or index is damaged."""
        key = (store, level.name, chunk)
        with self._lock:
            shard = self._open.get(key)
            if shard is None:
                shard = self._open[key] = self._map(key, spec, level)
                # A map that another thread still reads from closes when that thread is done.
                while len(self._open) > self._limit:
                    self._open.popitem(last=False)
            else:
                self._open.move_to_end(key)
            return shard

    def _map(self, key: Key, spec: CacheSpec, level: LevelSpec) -> MappedShard:
        store, chunk = Path(key[0]), key[2]
        rows = spec.chunk_rows(chunk)
        path = store / schema.feature_path(level.name) / schema.chunk_key(chunk, 5)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                state = os.fstat(descriptor)
                mapped = mmap.mmap(descriptor, 0, prot=mmap.PROT_READ)
            finally:
                os.close(descriptor)
            data = np.frombuffer(mapped, dtype=np.uint8)
            # The size is checked here: reading behind the end of a map would kill the process.
            offsets = parse_shard_index(
                data,
                num_rows=len(rows),
                num_views=spec.num_views,
                shard_rows=spec.shard_rows,
                map_size_bytes=schema.map_bytes(level, spec.dtype),
            )
        except (OSError, ValueError, DamagedBytes) as error:
            raise CacheCorrupt(
                damage_message(key[0], level.name, chunk, rows, str(error))
            ) from error
        identity = (state.st_ino, state.st_size, state.st_mtime_ns)
        known, checked = self._checked.get(key, ((), bytearray()))
        if known != identity:
            checked = bytearray(len(offsets))
            self._checked[key] = (identity, checked)
        return MappedShard(data, memoryview(mapped), offsets, checked)


def damage_message(location: str, array: str, chunk: int, rows: range, reason: str) -> str:
    """What is damaged, where, and how to repair it."""
    return (
        f"{location}: chunk {chunk} of {array} is damaged, rows {rows.start}-{rows.stop - 1}: "
        f"{reason}. Run 'posecache cache verify {location}' for a full list; "
        "discard the chunk and extract again"
    )
