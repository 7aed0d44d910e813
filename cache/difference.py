"""What differs between two stores: who made them, what they plan, how they lie, what they hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.derived.chunk_content import read_maps, read_rows
from cache.derived.quantize import dequantize
from cache.errors import CacheMismatch
from cache.fingerprint import differing_keys
from cache.header import StoreHeader
from cache.part import StorePart
from cache.schema import LevelSpec
from cache.storage import Location, open_storage
from cache.threads import copying_threads

_SECTIONS = (
    "feature_identity",
    "content_identity",
    "label_skeleton",
    "plan_hash",
    "spec",
    "scales",
)


@dataclass(frozen=True)
class Difference:
    """A key whose values differ.

    Args:
        section: `feature_identity`, `content_identity`, `plan_hash`, `spec`, ...
        key: dotted, inside the section; the section itself if it has no keys.
        first: value in the first store, as text.
        second: in the second one.
    """

    section: str
    key: str
    first: str
    second: str


@dataclass(frozen=True)
class ValueDifference:
    """How far two arrays are apart.

    Args:
        max_abs: largest difference of two values; of codes, what they stand for. Infinite where one
            of them is not finite.
        num_rows: rows that differ.
    """

    max_abs: float
    num_rows: int


@dataclass(frozen=True)
class StoreDifference:
    """What differs between two stores.

    Args:
        keys: that differ in their headers.
        joinable: whether one reader can read both.
        values: by Zarr path, what differs in the numbers; None if nobody looked.
    """

    keys: tuple[Difference, ...]
    joinable: bool
    values: dict[str, ValueDifference] | None

    @property
    def equal(self) -> bool:
        """Whether nothing differs, as far as it was looked at."""
        return not self.keys and not self.values


def compare_stores(first: Location, second: Location) -> StoreDifference:
    """What differs in the identities, the plans and the layouts of two stores.

    Raises:
        CacheMissing: one of them is not there.
        SchemaMismatch: one is of another format version.
    """
    parts = [StorePart(open_storage(location)) for location in (first, second)]
    headers = [_sections(part.header) for part in parts]
    keys = []
    for section in _SECTIONS:
        for key, *values in differing_keys(*(header[section] for header in headers)):
            keys.append(Difference(section, key or section, *values))
    apart = differing_keys(*(part.joinable() for part in parts))
    return StoreDifference(tuple(keys), joinable=not apart, values=None)


def compare_values(
    first: Location, second: Location, progress: Callable[[int, int], None] | None = None
) -> dict[str, ValueDifference]:
    """Arrays whose numbers differ, by Zarr path, row by row; empty if none does.

    Levels and keypoint sources that only one of the stores has are left out.

    Args:
        first: folder or URL of a finished store.
        second: of another one of the same plan.
        progress: called with (chunks done, chunks to do) after each chunk.

    Raises:
        CacheMismatch: their rows or maps cannot be laid side by side.
        CacheIncomplete: one lacks chunks.
        CacheCorrupt: one is damaged.
    """
    parts = [StorePart(open_storage(location)) for location in (first, second)]
    pairs = _pairs(*parts)
    for part in parts:
        part.require(np.arange(part.spec.num_chunks))
    spec = max((part.spec for part in parts), key=lambda spec: spec.shard_rows)

    def compare(chunk: int) -> dict[str, ValueDifference]:
        rows = spec.chunk_rows(chunk)
        return {
            name: _difference(
                *(
                    _values(part, name, level, rows)
                    for part, level in zip(parts, levels, strict=True)
                )
            )
            for name, levels in pairs.items()
        }

    total: dict[str, ValueDifference] = {}
    with ThreadPoolExecutor(copying_threads()) as pool:
        for done, found in enumerate(pool.map(compare, range(spec.num_chunks)), start=1):
            for name, each in found.items():
                before = total.get(name, ValueDifference(0.0, 0))
                total[name] = ValueDifference(
                    max(before.max_abs, each.max_abs), before.num_rows + each.num_rows
                )
            if progress is not None:
                progress(done, spec.num_chunks)
    return {name: each for name, each in total.items() if each.num_rows}


def _sections(header: StoreHeader) -> dict[str, Any]:
    """A header with its levels by name, so that each key of each one can differ."""
    tree = {"scales": {}, **header.to_json()}
    levels = {
        level["name"]: {"position": position, **level}
        for position, level in enumerate(tree["spec"]["levels"])
    }
    return {**tree, "spec": {**tree["spec"], "levels": levels}}


def _pairs(
    first: StorePart, second: StorePart
) -> dict[str, tuple[LevelSpec | None, LevelSpec | None]]:
    """Arrays that both stores have; raises `CacheMismatch` if they have other rows or shapes."""
    if first.header.plan_hash != second.header.plan_hash:
        raise CacheMismatch(
            f"{first.location} and {second.location} have different plans: their rows are not the "
            "same person-frames, so that their values cannot be compared"
        )
    levels = {level.name: level for level in second.spec.levels}
    pairs: dict[str, tuple[LevelSpec | None, LevelSpec | None]] = {}
    for level in first.spec.levels:
        if level.name in levels:
            pairs[schema.feature_path(level.name)] = level, levels[level.name]
    arrays = [
        schema.chunk_arrays(part.spec, part.header.label_skeleton) for part in (first, second)
    ]
    for name in arrays[0].keys() & arrays[1].keys():
        shapes = [each[name][0] for each in arrays]
        if shapes[0] != shapes[1]:
            raise CacheMismatch(
                f"{name} has rows of shape {shapes[0]} in {first.location} and {shapes[1]} in "
                f"{second.location}: their values cannot be compared"
            )
        pairs.setdefault(name, (None, None))
    return dict(sorted(pairs.items()))


def _values(part: StorePart, name: str, level: LevelSpec | None, rows: range) -> NDArray[Any]:
    if level is None:
        return read_rows(part, name, rows)
    maps, scales = read_maps(part, level, rows), part.scales(level)
    return maps if scales is None else dequantize(maps, scales)


def _difference(first: NDArray[Any], second: NDArray[Any]) -> ValueDifference:
    apart = np.zeros(len(first))
    for row, (one, other) in enumerate(zip(first, second, strict=True)):
        if not np.array_equal(one, other):
            wide = np.float64 if one.dtype == np.float64 else np.float32
            largest = np.abs(np.subtract(one, other, dtype=wide)).max()
            apart[row] = largest if np.isfinite(largest) else np.inf
    return ValueDifference(float(apart.max()), int((apart > 0).sum()))
