"""Durable files: written whole under another name, synced, then renamed into place.

A file that exists under its final name is complete. Leftovers of killed writers are told from the
files of living ones by their `flock`, which the kernel releases with the process.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.threads import for_each

TEMPORARY_PREFIX = ".tmp-"
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""What `flock` fails with on a file system without locks."""
_SYNCS_AT_ONCE = 4
_PARTS_AT_ONCE = 512  # the system takes 1024 in one call

Part = bytes | NDArray[np.uint8]


def _lock(descriptor: int, *, without_locks: bool) -> bool:
    """Whether the lock was free and the file is still in its folder.

    Args:
        descriptor: of a file or folder.
        without_locks: the answer on a file system that has none, as some of clusters.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return without_locks
    return os.fstat(descriptor).st_nlink > 0


def _temporary_name(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{secrets.token_hex(8)}")


def _create_temporary(path: Path) -> tuple[Path, int]:
    """A new locked file beside `path`, and its descriptor."""
    while True:
        temporary = _temporary_name(path)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o666)
        # A sweeper may hold the lock between these two calls; it removes the file, we take another.
        if _lock(descriptor, without_locks=True):
            return temporary, descriptor
        os.close(descriptor)


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """A new locked folder beside `path`, removed at the end unless it was renamed."""
    while True:
        temporary = _temporary_name(path)
        temporary.mkdir(parents=True)
        descriptor = os.open(temporary, os.O_RDONLY | os.O_CLOEXEC)
        if _lock(descriptor, without_locks=True):
            break
        os.close(descriptor)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Make a folder's files and names survive a power cut, those of its sub-folders too."""
    for root, _, names in os.walk(folder):
        for name in names:
            sync_folder(Path(root) / name)
        sync_folder(Path(root))


def write_files(files: Mapping[Path, Iterable[Part]]) -> None:
    """Write and sync every file, rename all, sync their folders.

    The files of a chunk are written side by side: a disk is faster with several syncs to wait for.

    Raises:
        OSError: of the disk; no final name has then been touched, and nothing is left behind.
    """
    pending: dict[Path, Path] = {}
    descriptors: list[int] = []

    def write(path: Path) -> None:
        temporary, descriptor = _create_temporary(path)
        pending[path] = temporary
        descriptors.append(descriptor)
        _write_parts(descriptor, files[path])
        os.fsync(descriptor)

    try:
        for_each(write, files, _SYNCS_AT_ONCE)
        for path, temporary in list(pending.items()):
            temporary.rename(path)
            del pending[path]
        for folder in sorted({path.parent for path in files}):
            sync_folder(folder)
    finally:
        for temporary in pending.values():
            with suppress(OSError):
                temporary.unlink()
        for descriptor in descriptors:
            os.close(descriptor)


def _write_parts(descriptor: int, parts: Iterable[Part]) -> None:
    """Write all parts, many at a time and none copied."""
    remaining = iter(parts)
    while batch := [_bytes(part) for part in islice(remaining, _PARTS_AT_ONCE)]:
        while batch:
            written = os.writev(descriptor, batch)
            while batch and written >= len(batch[0]):
                written -= len(batch.pop(0))
            if written:
                batch[0] = batch[0][written:]


def _bytes(part: Part) -> memoryview:
    return memoryview(part if isinstance(part, bytes) else part.data)


def sweep_leftovers(folder: Path, name_starts: str = "") -> None:
    """Remove temporary files and folders in `folder` whose writer is gone.

    Args:
        folder: where final names live.
        name_starts: only leftovers of final names that start like this.
    """
    with os.scandir(folder) as entries:
        leftovers = [
            entry for entry in entries if entry.name.startswith(TEMPORARY_PREFIX + name_starts)
        ]
    for entry in leftovers:
        with suppress(FileNotFoundError):  # its writer, or another sweeper, was faster
            descriptor = os.open(entry.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                # Where nobody can tell, they stay: `posecache cache gc` goes by their age.
                if _lock(descriptor, without_locks=False):
                    if entry.is_dir():
                        shutil.rmtree(entry.path)
                    else:
                        os.unlink(entry.path)
            finally:
                os.close(descriptor)
