"""What the attributes of a store's root say: format, layout and identities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cache import schema
from cache.errors import CacheMissing, SchemaMismatch
from cache.fingerprint import canonical_json
from cache.schema import METADATA, CacheSpec
from cache.seal import SEAL, check_root
from cache.storage import Storage

_OLD_GROUP = ".zgroup"


@dataclass(frozen=True)
class StoreHeader:
    """What the attributes of a store's root say."""

    spec: CacheSpec
    label_skeleton: str
    feature_identity: dict[str, Any]
    content_identity: dict[str, Any]
    plan_hash: str
    scales: dict[str, list[float]] = field(default_factory=dict)
    """Of 8-bit levels, per channel: value = code * scale; exact float32 numbers."""
    metadata_sums: dict[str, str] | None = field(default=None, compare=False)
    """Checksums of the metadata of a stored header, by path; None if it was stored without."""

    def to_json(self) -> dict[str, Any]:
        """Plain containers for the attributes."""
        tree = {
            "format": schema.FORMAT_NAME,
            "format_version": schema.FORMAT_VERSION,
            "spec": self.spec.to_json(),
            "label_skeleton": self.label_skeleton,
            "feature_identity": self.feature_identity,
            "content_identity": self.content_identity,
            "plan_hash": self.plan_hash,
        }
        return {**tree, "scales": self.scales} if self.scales else tree


def read_header(storage: Storage) -> StoreHeader:
    """The header of a store.

    Raises:
        CacheMissing: there is no such folder or object.
        SchemaMismatch: it is no store, or one of another format version.
        CacheCorrupt: the attributes are not those that were written.
    """
    path = storage.location
    if not storage.exists():
        raise CacheMissing(f"no store at {path}; run 'posecache extract' to make it")
    try:
        root = json.loads(storage.read(METADATA))
        attributes = root["attributes"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        old = "a group of Zarr version 2, " if storage.has(_OLD_GROUP) else ""
        raise SchemaMismatch(
            f"{path} is {old}not a posecache store: no readable {METADATA}; name another store, or "
            "make one with 'posecache extract'"
        ) from error
    if not isinstance(attributes, dict) or attributes.get("format") != schema.FORMAT_NAME:
        raise SchemaMismatch(
            f"{path} is a Zarr group, but not a posecache store; name another store, or make one "
            "with 'posecache extract'"
        )
    version = attributes.get("format_version")
    if version != schema.FORMAT_VERSION:
        raise SchemaMismatch(
            f"{path} has format version {version!r}, this release reads version "
            f"{schema.FORMAT_VERSION}; install the posecache that wrote it, or extract again"
        )
    try:
        header = StoreHeader(
            spec=CacheSpec.from_json(attributes["spec"]),
            **{
                key: attributes[key]
                for key in ("label_skeleton", "feature_identity", "content_identity", "plan_hash")
            },
            scales=attributes.get("scales", {}),
            metadata_sums=attributes.get(SEAL),
        )
    except KeyError as error:
        raise SchemaMismatch(f"{path} lacks the attribute {error} of format 1") from error
    check_root(root, path)
    return header


def plain_identity(identity: Mapping[str, Any]) -> dict[str, Any]:
    """An identity as it will read back from the store: JSON containers only."""
    plain: dict[str, Any] = json.loads(canonical_json(identity))
    return plain
