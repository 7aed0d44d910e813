"""Which chunks are committed: one object per chunk, whose presence is the commit."""

from __future__ import annotations

import numpy as np

from cache.maps.shards import chunk_parts
from cache.schema import COMMIT, METADATA, chunk_key
from cache.storage import Storage

_PREFIX = chunk_key(0, 1).removesuffix("0")


class Ledger:
    """The commit objects of a store, listed and never read."""

    def __init__(self, storage: Storage, num_chunks: int) -> None:
        self._storage = storage
        self._num_chunks = num_chunks

    def committed(self) -> frozenset[int]:
        """Committed chunks, from a fresh listing."""
        found = map(self._chunk_of, self._storage.names(COMMIT))
        return frozenset(chunk for chunk in found if chunk is not None)

    def strange(self) -> list[str]:
        """Names among the commits that are none of a planned chunk; no writer makes them."""
        names = self._storage.names(COMMIT)
        return sorted(name for name in names if name != METADATA and self._chunk_of(name) is None)

    def missing(self) -> list[int]:
        """Chunks without a commit, ascending."""
        return sorted(set(range(self._num_chunks)) - self.committed())

    def has(self, chunk: int) -> bool:
        """Whether the chunk is committed right now."""
        return self._storage.has(_key(chunk))

    def commit(self, chunk: int) -> None:
        """Declare a chunk's data complete; the data must be durable before."""
        self._storage.write({_key(chunk): chunk_parts(np.ones(1, dtype=np.uint8), 1)})

    def revoke(self, chunk: int) -> None:
        """Take a commit back, durably, before its data are touched."""
        self._storage.delete(_key(chunk))

    def _chunk_of(self, name: str) -> int | None:
        digits = name.removeprefix(_PREFIX)
        if not (name.startswith(_PREFIX) and digits.isascii() and digits.isdecimal()):
            return None
        chunk = int(digits)
        # One name per chunk: `c.07` is not the commit of chunk 7.
        return chunk if chunk < self._num_chunks and str(chunk) == digits else None


def _key(chunk: int) -> str:
    return f"{COMMIT}/{chunk_key(chunk, 1)}"
