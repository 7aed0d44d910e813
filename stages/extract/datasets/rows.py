"""Which rows of a dataset are kept, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.extract.datasets.base import OptionError


def choose_rows(
    split: ArrayLike,
    clips: ArrayLike,
    frames: ArrayLike,
    *,
    stride: int = 1,
    limit: int | None = None,
    keep: NDArray[np.bool_] | None = None,
) -> NDArray[np.intp]:
    """Return the rows to keep, ordered by split, clip and frame.

    Args:
        split: `[N]` code of the split.
        clips: `[N]` name or code of the clip (sequence, camera, person).
        frames: `[N]` frame number within the clip.
        stride: keep every `stride`-th row of each clip, from its first one.
        limit: keep at most this many rows of each split, evenly spaced.
        keep: `[N]` rows that may stay at all.

    Raises:
        OptionError: stride or limit below 1.
    """
    for option, value in (("stride", stride), ("limit", limit)):
        if value is not None and value < 1:
            raise OptionError(
                f"dataset.options.{option} must be at least 1, got {value}. Leave it out to keep "
                "every frame."
            )
    splits, names = np.asarray(split), np.asarray(clips)
    order = np.lexsort((np.asarray(frames), names, splits))
    if keep is not None:
        order = order[keep[order]]
    if stride > 1:
        order = _thin(order, names, stride)
    return order if limit is None else _limit_each(order, splits, limit)


def hold_out(
    subjects: Sequence[str], split: NDArray[np.intp], validation: Sequence[str]
) -> NDArray[np.intp]:
    """Return `split` (0 train, 2 test) with train rows of `validation` subjects made 1."""
    return np.where((split == 0) & np.isin(subjects, tuple(validation)), 1, split)


def _thin(order: NDArray[np.intp], clips: NDArray[Any], stride: int) -> NDArray[np.intp]:
    names = clips[order]
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    position = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    kept: NDArray[np.intp] = order[position % stride == 0]
    return kept


def _limit_each(order: NDArray[np.intp], split: NDArray[Any], limit: int) -> NDArray[np.intp]:
    kept = []
    for code in np.unique(split):
        rows = order[split[order] == code]
        if len(rows):
            kept.append(
                rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int))]
            )
    return np.concatenate(kept) if kept else order
