"""The rows of a store that cannot be used, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import CacheReader, FrameStatus


@dataclass(frozen=True)
class BadFrame:
    """A row of a store that cannot be used."""

    row: int
    item: str
    reason: str
    """Lower-case `FrameStatus` name."""


def bad_frames(reader: CacheReader) -> list[BadFrame]:
    """Return the unusable rows of the committed chunks, in order."""
    rows = np.flatnonzero(reader.committed())
    status = reader.status(rows=rows)
    index = reader.index("item")
    words = index.vocabulary or ()
    return [
        BadFrame(int(row), words[index.codes[row]], FrameStatus(int(code)).name.lower())
        for row, code in zip(rows, status, strict=True)
        if code != FrameStatus.OK
    ]


def bad_frames_facts(reader: CacheReader, *, named: int = 10) -> dict[str, Any]:
    """Return how many bad frames there are and the first ones, as JSON values."""
    found = bad_frames(reader)
    return {
        "count": len(found),
        "first": [[each.row, each.item, each.reason] for each in found[:named]],
    }
