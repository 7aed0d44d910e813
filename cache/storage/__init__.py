"""Where the objects of one store lie: a folder here, or objects behind a URL."""

from __future__ import annotations

import os

from cache.errors import CacheError
from cache.storage.base import Location, Storage, is_url
from cache.storage.folder import LocalStorage

__all__ = ["LocalStorage", "Location", "Storage", "is_url", "open_storage"]


def open_storage(location: Location | Storage) -> Storage:
    """The storage at a folder or a URL (`s3://bucket/name.zarr`); nothing is touched yet.

    Raises:
        CacheError: it is no URL that we know, or obstore is not installed.
    """
    if not isinstance(location, str | os.PathLike):
        return location
    text = os.fspath(location)
    if not is_url(text):
        return LocalStorage(text.removeprefix("file://"))
    try:
        from cache.storage.objects import ObjectStorage
    except ImportError as error:
        raise CacheError(
            f"{text}: stores behind a URL need the package obstore: "
            "pip install -c constraints.txt -e '.[s3]'"
        ) from error
    return ObjectStorage(text)
