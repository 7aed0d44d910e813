"""A store in a folder: one file per object."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from cache.storage.base import Location
from cache.storage.files import (
    TEMPORARY_PREFIX,
    Part,
    sweep_leftovers,
    sync_folder,
    sync_tree,
    temporary_folder,
    write_files,
)


class LocalStorage:
    """A folder."""

    def __init__(self, folder: Location) -> None:
        self._folder = Path(folder).absolute()

    @property
    def location(self) -> str:
        """Absolute path of the folder."""
        return str(self._folder)

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self._folder.name

    @property
    def folder(self) -> Path:
        """The folder."""
        return self._folder

    def exists(self) -> bool:
        """Whether the folder is there and holds anything."""
        return self._folder.is_dir() and any(self._folder.iterdir())

    def read(self, key: str) -> bytes:
        """The file's bytes; raises FileNotFoundError."""
        return (self._folder / key).read_bytes()

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes from `start` up to `stop`, fewer at the file's end; raises FileNotFoundError."""
        with (self._folder / key).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), stop - start, start)

    def tail(self, key: str, num_bytes: int) -> tuple[bytes, int]:
        """The file's last bytes (fewer if it is shorter) and its size; FileNotFoundError."""
        descriptor = os.open(self._folder / key, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            return os.pread(descriptor, num_bytes, max(0, size - num_bytes)), size
        finally:
            os.close(descriptor)

    def has(self, key: str) -> bool:
        """Whether the file is there right now."""
        return (self._folder / key).exists()

    def names(self, prefix: str) -> list[str]:
        """Names in a folder without temporary ones, in any order; none if there is no folder."""
        try:
            with os.scandir(self._folder / prefix) as entries:
                return [
                    entry.name for entry in entries if not entry.name.startswith(TEMPORARY_PREFIX)
                ]
        except FileNotFoundError:
            return []

    def size_bytes(self, prefix: str = "") -> int:
        """Bytes of all files below a prefix."""
        paths = (path for path in (self._folder / prefix).rglob("*") if path.is_file())
        return sum(path.stat().st_size for path in paths)

    def write(self, files: Mapping[str, Iterable[Part]]) -> None:
        """Write all files under other names, sync, rename; raises OSError."""
        write_files({self._folder / key: parts for key, parts in files.items()})

    def delete(self, key: str) -> None:
        """Remove a file and sync its folder."""
        path = self._folder / key
        path.unlink(missing_ok=True)
        sync_folder(path.parent)

    def read_beside(self, suffix: str) -> bytes:
        """The file beside the folder; raises FileNotFoundError."""
        return self._folder.with_suffix(suffix).read_bytes()

    def write_beside(self, suffix: str, content: bytes) -> None:
        """Write the file beside the folder, durably; raises OSError."""
        write_files({self._folder.with_suffix(suffix): [content]})

    def sweep(self, prefixes: Iterable[str]) -> None:
        """Remove temporary files of dead writers, and unfinished stores of this name."""
        sweep_leftovers(self._folder.parent, self._folder.name)
        for prefix in prefixes:
            sweep_leftovers(self._folder / prefix)

    def zarr_store(self, *, read_only: bool = True) -> str:  # noqa: ARG002
        """The path; zarr takes the mode with it."""
        return str(self._folder)

    @contextmanager
    def creating(self) -> Iterator[str]:
        """A temporary folder beside this one, renamed into place at the end."""
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with temporary_folder(self._folder) as folder:
            yield str(folder)
            sync_tree(folder)
            try:
                folder.rename(self._folder)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
            sync_folder(self._folder.parent)
