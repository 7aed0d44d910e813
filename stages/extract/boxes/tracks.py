"""Boxes of neighbouring frames joined to tracks, by overlap with where a person is expected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt

Share = Annotated[float, Field(ge=0, le=1)]
Float64 = NDArray[np.float64]

UNTRACKED = -1
_NEW_SPEED = 0.5  # weight of the latest step in a person's speed


class TrackConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """When boxes of several frames are one person."""

    min_score: Share = 0.3
    """Boxes that the person detector is less sure of are left out."""
    min_overlap: Share = 0.3
    """Least intersection over union with where the person is expected."""
    max_gap: NonNegativeInt = 15
    """A person may be unseen for this many frames of the video."""
    min_length: PositiveInt = 5
    """Tracks of fewer boxes are left out; of a sequence with fewer frames, those that miss one."""


def link_boxes(
    frames: ArrayLike, boxes_px: ArrayLike, scores: ArrayLike, config: TrackConfig
) -> NDArray[np.int64]:
    """Return the track `[R]` of each box, from 0 in order of appearance; `UNTRACKED` if left out.

    Frame by frame the best one-to-one assignment of boxes to persons is taken (Hungarian method on
    overlaps), each person moved on at the speed it had. The order of the boxes does not matter.

    Args:
        frames: `[R]` frame numbers, whole.
        boxes_px: `[R, 4]` x1, y1, x2, y2.
        scores: `[R]`.
        config: when boxes are one person.
    """
    numbers = np.asarray(frames, dtype=np.int64)
    boxes = np.asarray(boxes_px, dtype=np.float64).reshape(-1, 4)
    sure = np.asarray(scores, dtype=np.float64)
    # One order for equal sets of boxes: by frame, then the surest, then from left to right.
    order = np.lexsort((*boxes.T[::-1], -sure, numbers))
    order = order[sure[order] >= config.min_score]
    people: list[_Person] = []
    living: list[_Person] = []
    for frame in np.unique(numbers[order]):
        rows = order[numbers[order] == frame]
        living = [person for person in living if frame - person.frame - 1 <= config.max_gap]
        taken = _assign(living, boxes[rows], int(frame), config.min_overlap)
        for row, person in zip(rows, taken, strict=True):
            if person is None:
                person = _Person()
                people.append(person)
                living.append(person)
            person.see(int(row), boxes[row], int(frame))
    tracks = np.full(len(numbers), UNTRACKED, dtype=np.int64)
    lasting = [person for person in people if len(person.rows) >= config.min_length]
    for track, person in enumerate(lasting):
        tracks[person.rows] = track
    return tracks


def overlaps(first: ArrayLike, second: ArrayLike) -> Float64:
    """Return intersection over union `[P, Q]` of boxes `[P, 4]` and `[Q, 4]`; 0 for empty ones."""
    a = np.asarray(first, dtype=np.float64)[:, None]
    b = np.asarray(second, dtype=np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.prod(np.clip(sides, 0, None), axis=-1)
    united = np.prod(a[..., 2:] - a[..., :2], axis=-1) + np.prod(b[..., 2:] - b[..., :2], axis=-1)
    shares: Float64 = np.zeros_like(shared)
    np.divide(shared, united - shared, out=shares, where=united > shared)
    return shares


@dataclass
class _Person:
    rows: list[int] = field(default_factory=list)
    frame: int = 0
    box: Float64 = field(default_factory=lambda: np.zeros(4))
    speed: Float64 | None = None  # px per frame of the box's corners, mean of both

    def expected(self, frame: int) -> Float64:
        if self.speed is None:
            return self.box
        return self.box + np.tile(self.speed, 2) * (frame - self.frame)

    def see(self, row: int, box: Float64, frame: int) -> None:
        if self.rows:
            step = (box - self.box).reshape(2, 2).mean(axis=0) / (frame - self.frame)
            old = step if self.speed is None else self.speed
            self.speed = _NEW_SPEED * step + (1 - _NEW_SPEED) * old
        self.rows.append(row)
        self.box, self.frame = box, frame


def _assign(
    living: list[_Person], boxes: Float64, frame: int, min_overlap: float
) -> list[_Person | None]:
    from scipy.optimize import linear_sum_assignment

    taken: list[_Person | None] = [None] * len(boxes)
    if not living:
        return taken
    overlap = overlaps(boxes, np.stack([person.expected(frame) for person in living]))
    # Pairs that may not be joined count nothing, or they would draw others into bad joins.
    allowed = overlap >= max(min_overlap, np.finfo(np.float64).tiny)
    chosen = linear_sum_assignment(np.where(allowed, overlap, 0.0), maximize=True)
    for row, column in zip(*chosen, strict=True):
        if allowed[row, column]:
            taken[row] = living[column]
    return taken
