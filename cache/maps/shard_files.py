"""Shard files of local stores: where the maps lie in them, and which of them are kept open."""

from __future__ import annotations

import os
import resource
import weakref
from collections.abc import Iterable
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.errors import CacheCorrupt
from cache.maps.gather import SHARD_DTYPE, LevelFiles, file_identity, map_file, unmap_file
from cache.maps.shards import DamagedBytes, map_offsets, parse_shard_index, shard_index_bytes
from cache.schema import CacheSpec
from cache.threads import pool

MAX_OPEN_FILES = 512


class OpenFiles:
    """Files that joined stores keep open and mapped, a bounded number of them."""

    def __init__(self) -> None:
        soft_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._limit = max(1, min(MAX_OPEN_FILES, soft_limit // 2))
        self._kept: list[tuple[int, int, int]] = []
        weakref.finalize(self, _close, self._kept)

    def has_room(self) -> bool:
        """Whether another file can be kept."""
        return len(self._kept) < self._limit

    def keep(self, descriptor: int, size_bytes: int) -> int:
        """Address of the mapped file, 0 without a map; closed with the last reader of its store."""
        address = map_file(descriptor, size_bytes)
        self._kept.append((descriptor, address, size_bytes))
        return address


def _close(kept: Iterable[tuple[int, int, int]]) -> None:
    for descriptor, address, size_bytes in kept:
        if address:
            unmap_file(address, size_bytes)
        os.close(descriptor)


class ShardFiles:
    """What is known of the shard files of one local store; usable from several threads.

    An index is read once, when a file is first needed. The first files stay open; the others are
    opened for every batch, and learned anew when they are not the same files any more.

    Args:
        folder: of the store.
        spec: its layout.
        open_files: shared with the stores that are joined with it.
    """

    def __init__(self, folder: Path, spec: CacheSpec, open_files: OpenFiles) -> None:
        first, suffix = schema.chunk_key(0, 5).split("0", 1)
        shards = np.zeros((len(spec.levels), spec.num_chunks), dtype=SHARD_DTYPE)
        shards["descriptor"] = -1
        checked = np.zeros((*shards.shape, spec.shard_rows * spec.num_views), dtype=np.bool_)
        self.levels = tuple(
            LevelFiles(
                str(folder / schema.feature_path(level.name) / first),
                suffix,
                shards[number],
                checked[number],
            )
            for number, level in enumerate(spec.levels)
        )
        self._location = str(folder)
        self._spec = spec
        self._open_files = open_files
        # Nearly all files of a level have the same offsets, which are kept once. They stay as long
        # as this object: the tables hold their addresses.
        self._offsets: dict[bytes, NDArray[np.int64]] = {}
        self._lock = Lock()

    def learn(self, wanted: Iterable[tuple[int, int]]) -> None:
        """Read the indexes of files not known yet, by level and chunk; raises `CacheCorrupt`."""
        # In threads: each waits for the disk several times.
        for _ in pool().map(lambda pair: self._learn(*pair), wanted):
            pass

    def forget(self, level: int, chunk: int) -> None:
        """Look at a file anew the next time: it was replaced, or is damaged."""
        with self._lock:
            # Another thread may be reading from the map or descriptor: they live on unused.
            shard = self.levels[level].shards[chunk]
            shard["offsets"], shard["address"], shard["descriptor"] = 0, 0, -1

    def _learn(self, level: int, chunk: int) -> None:
        files = self.levels[level]
        if files.shards[chunk]["offsets"]:
            return  # another thread was faster
        kept = False
        try:
            file = os.open(f"{files.prefix}{chunk}{files.suffix}", os.O_RDONLY | os.O_CLOEXEC)
            try:
                identity = file_identity(os.fstat(file))
                offsets = self._read_index(file, identity[1], level, chunk)
                with self._lock:
                    if not files.shards[chunk]["offsets"]:
                        kept = self._open_files.has_room()
                        self._remember(files, chunk, identity, offsets, file if kept else None)
            finally:
                if not kept:
                    os.close(file)
        except (OSError, DamagedBytes) as error:
            name, rows = self._spec.levels[level].name, self._spec.chunk_rows(chunk)
            message = damage_message(self._location, name, chunk, rows, error)
            raise CacheCorrupt(message) from error

    def _read_index(self, file: int, file_bytes: int, level: int, chunk: int) -> NDArray[np.int64]:
        spec = self._spec
        tail_bytes = shard_index_bytes(spec.shard_rows, spec.num_views)
        if hasattr(os, "posix_fadvise"):  # fetch what is asked for and no more
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
        entries = parse_shard_index(
            os.pread(file, tail_bytes, max(0, file_bytes - tail_bytes)),
            file_bytes=file_bytes,
            num_chunks=len(spec.chunk_rows(chunk)) * spec.num_views,
        )
        return map_offsets(entries, schema.map_bytes(spec.levels[level], spec.dtype))

    def _remember(
        self,
        files: LevelFiles,
        chunk: int,
        identity: tuple[int, int, int],
        offsets: NDArray[np.int64],
        kept: int | None,
    ) -> None:
        shard = files.shards[chunk]
        if tuple(shard[["inode", "bytes", "modified_ns"]].tolist()) != identity:
            shard["inode"], shard["bytes"], shard["modified_ns"] = identity
            # What was checked outlives the map, as long as the file stays the same one.
            files.checked[chunk] = False
        if kept is not None:
            shard["descriptor"] = kept
            shard["address"] = self._open_files.keep(kept, identity[1])
        stored = self._offsets.setdefault(offsets.tobytes(), offsets)
        shard["offsets"] = stored.ctypes.data  # last: the kernel takes it for the word to go


def damage_message(
    location: str, array: str, chunk: int, rows: range, reason: str | Exception
) -> str:
    """What is damaged, where, and how to repair it."""
    why = (isinstance(reason, OSError) and reason.strerror) or str(reason)
    return (
        f"{location}: chunk {chunk} of {array} is damaged, rows {rows.start}-{rows.stop - 1}: "
        f"{why}. Run 'posecache cache verify {location}' for a full list; the 'posecache extract' "
        "that made the store mends it with --repair"
    )
