"""Stores read as one: what must be equal in them, and what their index columns become."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cache.errors import CacheMismatch
from cache.fingerprint import diff_identities
from cache.part import StorePart
from cache.plan import IndexColumn


def refuse_unlike(parts: Sequence[StorePart]) -> None:
    """Raise `CacheMismatch` unless all stores have the first one's identity and layout."""
    first = parts[0]
    for part in parts[1:]:
        differing = diff_identities(first.joinable(), part.joinable())
        if differing:
            raise CacheMismatch(
                f"{part.location} cannot be joined with {first.location}:\n  "
                + "\n  ".join(differing)
                + "\nExtract both with the same detector, crop and layout"
            )


def joined_index(name: str, parts: Sequence[StorePart]) -> IndexColumn:
    """`[N]` an index column of all stores; clips and cameras of two stores are never the same."""
    columns = [part.table.index(name) for part in parts]
    if len(columns) == 1:
        return columns[0]
    if name == "camera":
        return _stack(columns, [len(part.table.cameras()) for part in parts])
    if name == "clip":
        return _stack(columns, [int(column.codes.max()) + 1 for column in columns])
    if any(column.vocabulary is None for column in columns):
        return IndexColumn(np.concatenate([column.codes for column in columns]))
    return IndexColumn.from_words([word for column in columns for word in column.words()])


def _stack(columns: Sequence[IndexColumn], sizes: Sequence[int]) -> IndexColumn:
    """Columns one after the other, none sharing a code: column i starts at the sum of the sizes."""
    starts = np.cumsum([0, *sizes[:-1]])
    codes = np.concatenate(
        [column.codes + start for column, start in zip(columns, starts, strict=True)]
    )
    vocabularies = [column.vocabulary for column in columns]
    words = [
        f"{number}/{word}"
        for number, vocabulary in enumerate(vocabularies)
        for word in vocabulary or ()
    ]
    return IndexColumn(codes, tuple(words) if None not in vocabularies else None)
