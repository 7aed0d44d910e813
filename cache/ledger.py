"""Which chunks are committed: one object per chunk, whose presence is the commit."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from cache.files import sync_folder, write_files
from cache.schema import COMMIT, chunk_key
from cache.shards import chunk_parts


class Ledger:
    """The commit objects of a store, listed and never read."""

    def __init__(self, store: Path, num_chunks: int) -> None:
        self._folder = store / COMMIT
        self._num_chunks = num_chunks

    def _path(self, chunk: int) -> Path:
        return self._folder / chunk_key(chunk, 1)

    def committed(self) -> frozenset[int]:
        """Committed chunks, from a fresh listing of the folder."""
        prefix = chunk_key(0, 1).removesuffix("0")
        with os.scandir(self._folder) as entries:
            names = [entry.name for entry in entries]
        return frozenset(
            int(name.removeprefix(prefix)) for name in names if name.startswith(prefix)
        )

    def missing(self) -> list[int]:
        """Chunks without a commit, ascending."""
        return sorted(set(range(self._num_chunks)) - self.committed())

    def has(self, chunk: int) -> bool:
        """Whether the chunk is committed right now."""
        return self._path(chunk).exists()

    def commit(self, chunk: int) -> None:
        """Declare a chunk's data complete; the data must be synced before."""
        write_files({self._path(chunk): chunk_parts(np.ones(1, dtype=np.uint8), 1)})

    def revoke(self, chunk: int) -> None:
        """Take a commit back, durably, before its data are touched."""
        self._path(chunk).unlink(missing_ok=True)
        sync_folder(self._folder)
