"""What every place of a store can do: a folder, or objects behind a URL."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

from cache.storage.files import Part

Location = str | os.PathLike[str]


class Storage(Protocol):
    """The objects of one store. Keys are posix paths inside it, e.g. `commit/c.3`."""

    @property
    def location(self) -> str:
        """Absolute folder or URL, as messages name it; opens the same store again."""

    @property
    def name(self) -> str:
        """Last part of the location, e.g. `synthetic-hrnet.zarr`."""

    @property
    def folder(self) -> Path | None:
        """The folder that holds the objects as files; None where they are no files."""

    def exists(self) -> bool:
        """Whether there is any object."""

    def read(self, key: str) -> bytes:
        """The object's bytes; raises FileNotFoundError."""

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes from `start` up to `stop`, fewer at the object's end; raises FileNotFoundError."""

    def tail(self, key: str, num_bytes: int) -> tuple[bytes, int]:
        """The object's last bytes (fewer if it is shorter) and its size; FileNotFoundError."""

    def has(self, key: str) -> bool:
        """Whether the object is there right now."""

    def names(self, prefix: str) -> list[str]:
        """Names directly below a prefix, in any order, without unfinished ones."""

    def size_bytes(self, prefix: str = "") -> int:
        """Bytes of all objects below a prefix."""

    def write(self, files: Mapping[str, Iterable[Part]]) -> None:
        """Write the objects; durable on return, each whole or not there at all.

        Raises:
            OSError: of the disk or the network; nothing of an unfinished object is visible.
        """

    def delete(self, key: str) -> None:
        """Remove an object, durably; does nothing if it is not there."""

    def read_beside(self, suffix: str) -> bytes:
        """What is kept beside the store, e.g. `name.provenance.json`; raises FileNotFoundError."""

    def write_beside(self, suffix: str, content: bytes) -> None:
        """Keep something about the store that is no part of it; raises OSError."""

    def sweep(self, prefixes: Iterable[str]) -> None:
        """Remove what killed writers left unfinished below the prefixes."""

    def zarr_store(self, *, read_only: bool = True) -> Any:
        """What `zarr.open_group` takes."""

    def creating(self) -> Any:
        """Context of a location to write a new store's metadata and plan to.

        Yields what `zarr.create_group` takes. When the context ends, the store appears as a whole,
        unless another process was faster, whose store then stays.
        """


def is_url(location: Location) -> bool:
    """Whether a location is a URL of objects, not a folder."""
    text = os.fspath(location)
    return "://" in text and not text.startswith("file://")
