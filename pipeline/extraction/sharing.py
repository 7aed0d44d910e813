"""Whether a worker writes where the command reads: two machines may have equal paths by chance."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cache import CacheMissing
from cache.storage import Location, open_storage
from cache.storage.files import temporary_folder


@contextmanager
def shared_mark(location: Location) -> Iterator[str | None]:
    """Yield a folder beside the store, there while the context lasts; None for a URL.

    A URL means the same store everywhere. The folder's random name exists on no other disk. It is
    one of the store's, so that the next writer of the store sweeps it if this process is killed.
    """
    folder = open_storage(location).folder
    if folder is None:
        yield None
        return
    with temporary_folder(folder.with_name(f"{folder.name}.shared")) as mark:
        yield str(mark)


def sees_store(location: Location, mark: str | None) -> bool:
    """Return whether this process sees the store that the mark's maker sees."""
    return open_storage(location).exists() and (mark is None or Path(mark).is_dir())


def refuse_unshared(location: Location, who: str, *, seen: bool) -> None:
    """Raise CacheMissing unless `who` has seen the store."""
    if seen:
        return
    # Opening it for writing would make another store, on a disk that nobody looks at.
    raise CacheMissing(
        f"{location}: {who} does not see this store. Put data_root on a disk or an object store "
        "that all machines share, or let each machine extract a part: posecache extract --part "
        "i/n, then posecache cache merge"
    )
