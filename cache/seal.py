"""Checksums of a store's metadata, so that a flipped bit in a `zarr.json` is found like any other.

The data carry their own checksums; the JSON that describes them does not. The root's attributes
keep the crc32c of every other `zarr.json`, and one of what the root itself says without that entry.
Stores without a seal, of the first release, are read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import google_crc32c
import zarr
from zarr.core.sync import sync

from cache.errors import CacheCorrupt
from cache.fingerprint import canonical_json
from cache.schema import METADATA
from cache.storage import Storage

SEAL = "metadata_crc32c"
_ITSELF = "."
_REPAIR = "restore it from a copy, or delete the store and extract again"


def seal(group: zarr.Group) -> None:
    """Write the seal of a new store's metadata into its root's attributes."""
    sums = {
        name: _sum(_stored(group, f"{name}/{METADATA}"))
        for name, _ in sorted(group.members(max_depth=None))
    }
    group.attrs[SEAL] = sums
    root = json.loads(_stored(group, METADATA))
    group.attrs[SEAL] = {**sums, _ITSELF: _sum(_without_itself(root))}


def check_root(root: Mapping[str, Any], location: str) -> None:
    """Raise `CacheCorrupt` if the root's metadata, as parsed, are not what was sealed."""
    sums = root["attributes"].get(SEAL)
    if sums is not None and sums.get(_ITSELF) != _sum(_without_itself(root)):
        raise CacheCorrupt(f"{location}: {METADATA} fails its checksum; {_REPAIR}")


def check_metadata(sums: Mapping[str, str] | None, name: str, storage: Storage) -> None:
    """Raise `CacheCorrupt` if the `zarr.json` of an array or group is not what was sealed.

    Args:
        sums: seal of the store, None if it has none.
        name: path of the array or group.
        storage: of the store.
    """
    if sums is None:
        return
    key = f"{name}/{METADATA}"
    try:
        intact = sums.get(name) == _sum(storage.read(key))
    except OSError as error:
        raise CacheCorrupt(f"{storage.location}: {key} cannot be read; {_REPAIR}") from error
    if not intact:
        raise CacheCorrupt(f"{storage.location}: {key} fails its checksum; {_REPAIR}")


def sealed_names(sums: Mapping[str, str] | None) -> list[str]:
    """Paths of the arrays and groups under a seal."""
    return sorted(set(sums or ()) - {_ITSELF})


def _without_itself(root: Mapping[str, Any]) -> bytes:
    """What the root says, but for its own sum and for a summary of the other metadata."""
    sums = {name: value for name, value in root["attributes"][SEAL].items() if name != _ITSELF}
    said = {key: value for key, value in root.items() if key != "consolidated_metadata"}
    return canonical_json({**said, "attributes": {**root["attributes"], SEAL: sums}}).encode()


def _stored(group: zarr.Group, key: str) -> bytes:
    content = sync((group.store_path / key).get())
    assert content is not None
    return content.to_bytes()


def _sum(content: bytes) -> str:
    return f"{google_crc32c.value(content):08x}"
