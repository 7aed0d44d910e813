"""What arrays a store has, as its metadata say: shapes, chunks, codecs, objects, bytes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cache.errors import CacheCorrupt
from cache.schema import METADATA
from cache.storage import Storage

_NO_CODEC = ("bytes", "crc32c")


@dataclass(frozen=True)
class StoredArray:
    """One array of a store.

    Args:
        path: inside the store.
        shape: rows first, where it has rows.
        dtype: of its numbers.
        chunk_shape: of an object, the unit of writing.
        inner_shape: of what is read and checked at once.
        codec: how that is compressed, `raw` if it is not.
        num_objects: that are there.
        planned_objects: that a complete store has.
        size_bytes: of the objects that are there, metadata included.
    """

    path: str
    shape: tuple[int, ...]
    dtype: str
    chunk_shape: tuple[int, ...]
    inner_shape: tuple[int, ...]
    codec: str
    num_objects: int
    planned_objects: int
    size_bytes: int


def stored_arrays(storage: Storage, prefix: str = "") -> list[StoredArray]:
    """Every array below a prefix, x8 before x16; raises `CacheCorrupt` for broken metadata."""
    return sorted(_walk(storage, prefix), key=lambda array: _counting(array.path))


def _counting(path: str) -> list[tuple[str, int]]:
    """A path as words and numbers."""
    return [(word, int(number or 0)) for word, number in re.findall(r"(\D+)(\d*)", path)]


def _walk(storage: Storage, prefix: str) -> Iterator[StoredArray]:
    names = storage.names(prefix)
    if METADATA not in names:
        return
    key = f"{prefix}/{METADATA}" if prefix else METADATA
    try:
        node = json.loads(storage.read(key))
        if node["node_type"] == "array":
            yield _array(storage, prefix, node, names)
            return
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CacheCorrupt(
            f"{storage.location}: {key} does not describe an array ({error}); "
            "delete the store and extract again"
        ) from error
    for name in sorted(names):
        if name != METADATA:
            yield from _walk(storage, f"{prefix}/{name}" if prefix else name)


def _array(storage: Storage, path: str, node: dict[str, Any], names: list[str]) -> StoredArray:
    chunk = tuple(node["chunk_grid"]["configuration"]["chunk_shape"])
    inner, codecs = chunk, node["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        settings = codecs[0]["configuration"]
        inner, codecs = tuple(settings["chunk_shape"]), settings["codecs"]
    shape = tuple(node["shape"])
    objects = [name for name in names if name.startswith("c")]
    planned = 1
    for size, step in zip(shape, chunk, strict=True):
        planned *= -(-size // step)
    return StoredArray(
        path=path,
        shape=shape,
        dtype=node["data_type"],
        chunk_shape=chunk,
        inner_shape=inner,
        codec=" ".join(_codec_name(each) for each in codecs if each["name"] not in _NO_CODEC)
        or "raw",
        num_objects=len(objects),
        planned_objects=planned,
        size_bytes=storage.size_bytes(path),
    )


def _codec_name(codec: dict[str, Any]) -> str:
    settings = codec.get("configuration", {})
    inside = settings.get("cname")
    return f"{codec['name']}-{inside}" if inside else str(codec["name"])
