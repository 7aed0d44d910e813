"""Guards of the store taken away one by one, so that tests can show that they notice."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cache import files
from cache.storage import LocalStorage
from cache.writer import CacheWriter


def without_commit_last() -> None:
    """The commit is written before the data that it vouches for."""
    write = LocalStorage.write
    data: dict[str, Iterable[files.Part]] = {}

    def swapped(self: LocalStorage, given: Mapping[str, Iterable[files.Part]]) -> None:
        if not any(key.startswith("commit/") for key in given):
            data.update(given)
            return
        write(self, given)
        write(self, data)
        data.clear()

    LocalStorage.write = swapped  # type: ignore[method-assign]


def without_commit_revoked_first() -> None:
    """A chunk's data are removed while it still counts as committed."""

    def discard(self: CacheWriter, chunk: int) -> None:
        for name in self._arrays:
            self._storage.delete(self._chunk_key(name, chunk))
        self._ledger.revoke(chunk)

    CacheWriter.discard_chunk = discard  # type: ignore[method-assign]


def without_whole_creation() -> None:
    """A new store is made in its final place, file by file."""

    @contextmanager
    def creating(self: LocalStorage) -> Iterator[str]:
        self.folder.mkdir(parents=True)
        yield str(self.folder)

    LocalStorage.creating = creating  # type: ignore[method-assign]


def without_sweeping() -> None:
    """What killed writers leave behind stays."""
    LocalStorage.sweep = lambda *_: None  # type: ignore[assignment, method-assign]


def without_locks() -> None:
    """Temporary files of living writers look like those of dead ones."""
    files._lock = lambda descriptor: os.fstat(descriptor).st_nlink > 0


def without_rename() -> None:
    """Files are written under their final names."""

    def write_files(given: Mapping[Path, Iterable[files.Part]]) -> None:
        for path, parts in given.items():
            with path.open("wb") as stream:
                for part in parts:
                    stream.write(part if isinstance(part, bytes) else part.data)

    import cache.storage

    cache.storage.write_files = write_files


GUARDS: Mapping[str, Callable[[], None]] = {
    "commit-last": without_commit_last,
    "commit-revoked-first": without_commit_revoked_first,
    "whole-creation": without_whole_creation,
    "sweeping": without_sweeping,
    "locks": without_locks,
    "rename": without_rename,
}
