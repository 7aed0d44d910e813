"""Stores behind a URL: S3 and what speaks its language, through obstore and zarr's own ObjectStore.

An object appears whole or not at all and is durable when the request returns, so that a chunk needs
no temporary names. What folders give by a rename, a new store that appears as a whole, is made of
two rules here: the root's `zarr.json` comes last, and a claim keeps two creators apart.
"""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore, from_url
from zarr.storage import MemoryStore
from zarr.storage import ObjectStore as ZarrObjectStore

from cache.errors import CacheError, CacheUnreachable
from cache.schema import METADATA
from cache.storage.files import Part
from cache.threads import pool

if TYPE_CHECKING:  # obstore tells these to type checkers only
    from obstore.store import ClientConfig, RetryConfig

SCHEMES = ("s3", "gs", "az")
"""Beginnings of URLs; `s3` is the one that is tested."""
_CLAIM = "creating"
_RETRIES: RetryConfig = {"max_retries": 5, "retry_timeout": timedelta(seconds=60)}


class ObjectStorage:
    """The objects below a URL, e.g. `s3://bucket/folder/name.zarr` or a folder of such stores.

    Where the server is and who asks comes from the environment: `AWS_ENDPOINT_URL`, `AWS_REGION`,
    `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, `AWS_SKIP_SIGNATURE`.

    Args:
        url: of the place; nothing is asked yet.

    Raises:
        CacheError: the URL is none of a bucket.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SCHEMES or not parts.netloc:
            raise CacheError(
                f"{url!r} names no place for a store: give a folder, or a URL such as "
                "s3://bucket/folder"
            )
        self._url = f"{parts.scheme}://{parts.netloc}/{parts.path.strip('/')}".rstrip("/")
        self._objects = _opened(self._url)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self._url,)

    @property
    def location(self) -> str:
        """The URL."""
        return self._url

    @property
    def name(self) -> str:
        """Last part of the URL."""
        return self._url.rpartition("/")[2]

    @property
    def folder(self) -> None:
        """Objects are no files."""
        return

    def exists(self) -> bool:
        """Whether there is a store: its root is written last."""
        return self.has(METADATA)

    def read(self, key: str) -> bytes:
        """The object's bytes; raises FileNotFoundError, CacheUnreachable."""
        with self._reading(key):
            return bytes(obstore.get(self._objects, key).bytes())

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        """Bytes from `start` up to `stop`; raises FileNotFoundError, CacheUnreachable."""
        with self._reading(key):
            return bytes(obstore.get_range(self._objects, key, start=start, end=stop))

    def tail(self, key: str, num_bytes: int) -> tuple[bytes, int]:
        """The last bytes and the size; raises FileNotFoundError, CacheUnreachable."""
        with self._reading(key):
            found = obstore.get(self._objects, key, options={"range": {"suffix": num_bytes}})
            return bytes(found.bytes()), found.meta["size"]

    def has(self, key: str) -> bool:
        """Whether the object is there right now."""
        try:
            with self._reading(key):
                obstore.head(self._objects, key)
        except FileNotFoundError:
            return False
        return True

    def names(self, prefix: str) -> list[str]:
        """Names directly below a prefix, in any order."""
        with self._reading(prefix):
            found = obstore.list_with_delimiter(self._objects, prefix or None)
        below = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
        return [path.rpartition("/")[2] for path in below if path != _CLAIM]

    def size_bytes(self, prefix: str = "") -> int:
        """Bytes of all objects below a prefix."""
        with self._reading(prefix):
            pages = obstore.list(self._objects, prefix or None)
            return sum(each["size"] for page in pages for each in page)

    def write(self, files: Mapping[str, Iterable[Part]]) -> None:
        """Put all objects, several at a time; each is durable and whole on return.

        Raises:
            OSError: the server or the network refused; nothing of an unfinished object is visible.
        """

        def put(key: str) -> None:
            parts = [part if isinstance(part, bytes) else part.data for part in files[key]]
            self._put(key, b"".join(parts))

        for _ in pool().map(put, files):
            pass

    def delete(self, key: str) -> None:
        """Remove an object; does nothing if it is not there."""
        try:
            obstore.delete(self._objects, key)
        except FileNotFoundError:
            return
        except BaseError as error:
            _refuse(error)

    def read_beside(self, suffix: str) -> bytes:
        """The object beside the store's; raises FileNotFoundError, CacheUnreachable."""
        with self._reading(suffix):
            return bytes(obstore.get(*self._beside(suffix)).bytes())

    def write_beside(self, suffix: str, content: bytes) -> None:
        """Put the object beside the store's; raises OSError."""
        try:
            obstore.put(*self._beside(suffix), content)
        except (FileNotFoundError, BaseError) as error:
            _refuse(error)

    def _beside(self, suffix: str) -> tuple[ObjectStore, str]:
        folder, _, name = self._url.rpartition("/")
        return _opened(folder), PurePosixPath(name).with_suffix(suffix).name

    def sweep(self, prefixes: Iterable[str]) -> None:
        """Nothing: unfinished uploads are invisible, and the bucket's lifecycle rule ends them."""

    def zarr_store(self, *, read_only: bool = True) -> ZarrObjectStore[ObjectStore]:
        """Zarr's own store of the same objects."""
        return ZarrObjectStore(self._objects, read_only=read_only)

    @contextmanager
    def creating(self) -> Iterator[MemoryStore]:
        """A place in memory, whose objects are put at the end, the root last.

        Raises:
            CacheError: a store of other settings is being made here.
            OSError: the server or the network refused.
        """
        made: dict[str, Any] = {}
        yield MemoryStore(store_dict=made)
        objects = {key: content.to_bytes() for key, content in sorted(made.items())}
        root = objects.pop(METADATA)
        self._claim(hashlib.sha256(repr((root, objects)).encode()).hexdigest().encode())
        # Whoever held the claim before has written the root before giving it back.
        if not self.exists():
            self.write({key: [content] for key, content in objects.items()})
            self._put(METADATA, root)
        self.delete(_CLAIM)

    def _claim(self, content: bytes) -> None:
        """Be the one, or one of several with the very same objects, who creates the store."""
        try:
            self._put(_CLAIM, content, mode="create")
        except FileExistsError:
            try:
                claimed = self.read(_CLAIM)
            except FileNotFoundError:  # its owner is done
                return
            if claimed != content:
                raise CacheError(
                    f"{self._url}: another process is creating a store of other settings here. "
                    f"If none is running, it was killed: delete {self._url}/{_CLAIM}"
                ) from None

    def _put(self, key: str, content: bytes, mode: str = "overwrite") -> None:
        try:
            if mode == "create":
                obstore.put(self._objects, key, content, mode="create", use_multipart=False)
            else:
                obstore.put(self._objects, key, content)
        except AlreadyExistsError as error:
            raise FileExistsError(errno.EEXIST, _line(error), key) from error
        except (FileNotFoundError, BaseError) as error:  # the former: there is no such bucket
            _refuse(error)

    @contextmanager
    def _reading(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise FileNotFoundError(errno.ENOENT, "there is no such object", key) from error
        except BaseError as error:
            raise CacheUnreachable(
                f"cannot read {key} of {self._url}: {_line(error)}. Check the network and the "
                "AWS_* variables (endpoint, region, keys); nothing is lost"
            ) from error


def _opened(url: str) -> ObjectStore:
    # Servers on the own machine or network often have no certificate.
    is_plain = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    client: ClientConfig = {"allow_http": is_plain, "connect_timeout": timedelta(seconds=10)}
    return from_url(url, client_options=client, retry_config=_RETRIES)


def _refuse(error: Exception) -> NoReturn:
    raise OSError(errno.EIO, _line(error)) from error


def _line(error: Exception) -> str:
    """What an error says, without the dump of its insides."""
    return str(error).split("\n\nDebug source")[0].splitlines()[0]
