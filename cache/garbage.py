"""What killed writers and deleted stores leave below a folder, found and removed on demand.

A writer that is alive holds the lock of its unfinished files (see `cache.storage.files`), so that
they are told from leftovers. Between the files of a chunk and its commit a writer holds nothing:
chunk files without a commit count as left over only when nobody has touched them for a while.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cache import schema
from cache.errors import CacheError
from cache.header import read_header
from cache.ledger import Ledger
from cache.storage import LocalStorage
from cache.storage.files import NO_LOCKS, TEMPORARY_PREFIX

QUIET_S = 3600.0
"""Seconds after which an uncommitted chunk file has no writer any more: it needs less than one from
its last file to its commit."""
_BESIDE = (".request.json", ".provenance.json")

Kind = Literal["unfinished", "uncommitted", "without a store"]


@dataclass(frozen=True)
class Leftover:
    """A file or folder that nothing needs.

    Args:
        path: of it.
        kind: unfinished by a killed writer; a chunk file that was never committed; a file about a
            store that is gone.
        size_bytes: of all files in it.
    """

    path: Path
    kind: Kind
    size_bytes: int


def find_leftovers(root: Path) -> list[Leftover]:
    """What can be removed below `root`, by path; changes nothing.

    Raises:
        CacheError: `root` is no folder.
    """
    if not root.is_dir():
        raise CacheError(f"{root} is no folder; give the one that holds the stores")
    found: list[Leftover] = []
    for folder, names in _folders_of_stores(root):
        found += _unfinished(folder)
        found += _without_store(folder, names)
        for name in names:
            if name.endswith(".zarr"):
                found += _of_store(folder / name)
    return sorted(found, key=lambda leftover: leftover.path)


def remove_leftovers(leftovers: Iterable[Leftover]) -> list[Leftover]:
    """Remove those that are still left over, looking again at each; return what was removed."""
    removed = []
    for leftover in leftovers:
        with suppress(FileNotFoundError):  # its store's next writer was faster
            if not _is_still(leftover):
                continue
            if leftover.path.is_dir():
                shutil.rmtree(leftover.path)
            else:
                leftover.path.unlink()
            removed.append(leftover)
    return removed


def _folders_of_stores(root: Path) -> Iterator[tuple[Path, list[str]]]:
    """Every folder below `root` that is not inside a store, with the names in it."""
    for folder, subfolders, files in os.walk(root):
        names = [*subfolders, *files]
        subfolders[:] = [
            name
            for name in subfolders
            if not name.endswith(".zarr") and not name.startswith(TEMPORARY_PREFIX)
        ]
        yield Path(folder), names


def _of_store(store: Path) -> list[Leftover]:
    storage = LocalStorage(store)
    try:
        header = read_header(storage)
    except CacheError:
        return []  # not one of ours, or of another version: none of its files is known
    arrays = schema.chunk_arrays(header.spec, header.label_skeleton)
    found = [each for name in (*arrays, schema.COMMIT) for each in _unfinished(store / name)]
    for name, (shape, _) in arrays.items():
        keys = {
            schema.chunk_key(chunk, len(shape) + 1): chunk
            for chunk in range(header.spec.num_chunks)
        }
        files = [file for file in storage.names(name) if file in keys]
        # Listed after the files: what was committed in between is not left over.
        committed = Ledger(storage, header.spec.num_chunks).committed()
        for file in files:
            path = store / name / file
            if keys[file] not in committed and _is_quiet(path):
                found.append(_leftover(path, "uncommitted"))
    return found


def _unfinished(folder: Path) -> list[Leftover]:
    if not folder.is_dir():
        return []
    return [
        _leftover(path, "unfinished")
        for path in folder.iterdir()
        if path.name.startswith(TEMPORARY_PREFIX) and _is_abandoned(path)
    ]


def _without_store(folder: Path, names: Sequence[str]) -> list[Leftover]:
    stems = {
        name: name.removesuffix(suffix)
        for name in names
        for suffix in _BESIDE
        if name.endswith(suffix)
    }
    return [
        _leftover(folder / name, "without a store")
        for name, stem in stems.items()
        if f"{stem}.zarr" not in names
    ]


def _is_still(leftover: Leftover) -> bool:
    path = leftover.path
    if leftover.kind == "unfinished":
        return _is_abandoned(path)
    if leftover.kind == "without a store":
        stem = next(path.name.removesuffix(end) for end in _BESIDE if path.name.endswith(end))
        return not (path.parent / f"{stem}.zarr").exists()
    store = next(parent for parent in path.parents if parent.name.endswith(".zarr"))
    chunk = int(path.name.split(".")[1])
    num_chunks = read_header(LocalStorage(store)).spec.num_chunks
    return _is_quiet(path) and not Ledger(LocalStorage(store), num_chunks).has(chunk)


def _is_abandoned(path: Path) -> bool:
    """Whether the writer of an unfinished file or folder is gone: its lock is free.

    Where the file system has no locks, it is when nobody has touched it for a while.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return _is_quiet(path)
    finally:
        os.close(descriptor)
    return True


def _is_quiet(path: Path) -> bool:
    try:
        # Not the time of the content: a merge links old files into a new store.
        return time.time() - path.stat().st_ctime > QUIET_S
    except FileNotFoundError:
        return False


def _leftover(path: Path, kind: Kind) -> Leftover:
    files = (file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return Leftover(path, kind, sum(file.stat().st_size for file in files))
