"""Which rows are degraded: as many as asked for, evenly over clips."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def thin_rows(
    rows: NDArray[np.int64],  # [n] ascending
    clips: NDArray[np.integer],  # [n] code of the clip of each
    most: int,
) -> NDArray[np.int64]:  # [m]
    """Return at most `most` of the rows, in turns over the clips.

    Every clip has as many as the others, or all that it holds; those of a clip are evenly spaced.
    The first row of each clip comes first, then the second of each, so that any part of the list
    has frames of many clips.
    """
    members = [rows[clips == code] for code in dict.fromkeys(clips.tolist())]
    counts = _shares([len(each) for each in members], most)
    turns: list[tuple[int, int, int]] = []
    for clip, (own, count) in enumerate(zip(members, counts, strict=True)):
        places = ((np.arange(count) + 0.5) * len(own) / max(count, 1)).astype(int)
        turns += [(turn, clip, int(own[place])) for turn, place in enumerate(places)]
    return np.array([row for _, _, row in sorted(turns)], dtype=np.int64)


def _shares(sizes: list[int], most: int) -> list[int]:
    """Return how many of each clip, as equal as sizes allow, `most` in all."""
    counts = [0] * len(sizes)
    left = min(most, sum(sizes))
    while left:
        open_clips = [i for i, size in enumerate(sizes) if counts[i] < size]
        each = max(1, left // len(open_clips))
        if left < len(open_clips):
            # Spread over all clips, not the first ones.
            picked = np.linspace(0, len(open_clips) - 1, left).round().astype(int)
            open_clips = [open_clips[i] for i in picked]
        for i in open_clips:
            taken = min(each, sizes[i] - counts[i], left)
            counts[i] += taken
            left -= taken
    return counts
