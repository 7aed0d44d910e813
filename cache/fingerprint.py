"""Identity of a store: canonical JSON, hashes of it, and what differs between two of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

_ABSENT = "(absent)"


def _plain(value: Any) -> Any:
    """Mappings, sequences and numpy values as what JSON knows; anything else is refused."""
    if value is None or isinstance(value, bool | int | float | str):
        # Subclasses (enum members) lose their type here, as they would in the stored attributes.
        return value
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("identities have string keys only")
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        # Vocabularies have a word per row.
        return [item if type(item) is str else _plain(item) for item in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    hint = "; paths are not part of an identity" if isinstance(value, PurePath) else ""
    raise TypeError(f"identities hold JSON values, got {type(value).__name__}{hint}")


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    Raises:
        TypeError: for what JSON cannot say.
        ValueError: for NaN and infinities.
    """
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=True
    )


def fingerprint(value: Any) -> str:
    """sha256 of the canonical JSON, 64 hex digits."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def hash_arrays(arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over names (sorted), dtypes, shapes and little-endian bytes, 64 hex digits."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.asarray(arrays[name])
        little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        header = canonical_json([name, array.dtype.newbyteorder("<").str, list(array.shape)])
        digest.update(f"{len(header)}:{header}".encode())
        digest.update(little.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def diff_identities(stored: Any, asked: Any, *, prefix: str = "") -> list[str]:
    """One line per differing dotted key with both values, sorted; empty if the two are equal."""
    return [
        f"{key or '(all)'}: stored {first}, asked {second}"
        for key, first, second in differing_keys(stored, asked, prefix=prefix)
    ]


def differing_keys(first: Any, second: Any, *, prefix: str = "") -> list[tuple[str, str, str]]:
    """Dotted key and both values, shortened, of everything that differs; sorted."""
    return _diff(json.loads(canonical_json(first)), json.loads(canonical_json(second)), prefix)


def _diff(first: Any, second: Any, key: str) -> list[tuple[str, str, str]]:
    if isinstance(first, dict) and isinstance(second, dict):
        found = []
        for name in sorted(first.keys() | second.keys()):
            dotted = f"{key}.{name}" if key else name
            found += _diff(first.get(name, _ABSENT), second.get(name, _ABSENT), dotted)
        return found
    if canonical_json(first) == canonical_json(second):
        return []
    return [(key, _short(first), _short(second))]


def _short(value: Any, limit: int = 120) -> str:
    text = value if value == _ABSENT else json.dumps(value, sort_keys=True)
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)"
