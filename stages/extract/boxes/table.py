"""A table of person boxes: which person is where in which frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from stages.extract.datasets.base import DatasetError

PICTURE = -1
"""Frame number of a box in a picture file."""


@dataclass(frozen=True, eq=False)
class BoxTable:
    """R boxes in the order of their file.

    Args:
        files: `[R]` video or picture, as the box file calls it; empty where it names none.
        frames: `[R]` frame of a video, from 0; `PICTURE` for a picture file.
        tracks: `[R]` name of the person within the video or folder; empty where unknown.
        boxes_px: `[R, 4]` x1, y1, x2, y2.
        scores: `[R]` how sure a detector was; 1 where the file does not tell.
        found_by: the person detector that found them, None where the file does not tell.
    """

    files: tuple[str, ...]
    frames: NDArray[np.int64]
    tracks: tuple[str, ...]
    boxes_px: NDArray[np.float64]
    scores: NDArray[np.float64]
    found_by: Mapping[str, Any] | None = None

    def __len__(self) -> int:
        return len(self.files)

    def take(self, rows: ArrayLike) -> BoxTable:
        """Return these rows in this order."""
        chosen = np.arange(len(self))[np.asarray(rows)]
        return BoxTable(
            tuple(self.files[row] for row in chosen),
            self.frames[chosen],
            tuple(self.tracks[row] for row in chosen),
            self.boxes_px[chosen],
            self.scores[chosen],
            self.found_by,
        )


@dataclass
class BoxRows:
    """Collects the rows of a table; `where` in errors is the file and line that is read."""

    files: list[str] = field(default_factory=list)
    frames: list[int] = field(default_factory=list)
    tracks: list[str] = field(default_factory=list)
    boxes: list[tuple[float, ...]] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)

    def add(
        self,
        where: str,
        *,
        file: str,
        frame: int,
        track: str,
        box: Sequence[Any],
        score: Any = 1.0,
    ) -> None:
        """Append one box; raises DatasetError if its numbers are not usable."""
        try:
            corners, value = tuple(float(number) for number in box), float(score)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{where}: {error}.") from error
        if len(corners) != 4 or not np.isfinite([*corners, value]).all():
            raise DatasetError(f"{where}: box {list(box)} with score {score} is not finite.")
        if corners[2] < corners[0] or corners[3] < corners[1]:
            raise DatasetError(
                f"{where}: box {list(corners)} ends before it starts; boxes are x1, y1, x2, y2."
            )
        self.files.append(file)
        self.frames.append(frame)
        self.tracks.append(track)
        self.boxes.append(corners)
        self.scores.append(value)

    def table(self, found_by: Mapping[str, Any] | None = None) -> BoxTable:
        """Return what was collected."""
        return BoxTable(
            tuple(self.files),
            np.array(self.frames, dtype=np.int64),
            tuple(self.tracks),
            np.array(self.boxes, dtype=np.float64).reshape(-1, 4),
            np.array(self.scores, dtype=np.float64),
            found_by,
        )


def number_persons(frames: ArrayLike, scores: ArrayLike, boxes_px: ArrayLike) -> NDArray[np.int64]:
    """Return the place `[R]` of each box among those of its frame, the surest one first.

    For boxes without tracks: person 0 of a frame need not be person 0 of the next.

    Args:
        frames: `[R]` anything that tells frames apart.
        scores: `[R]`.
        boxes_px: `[R, 4]`; decides between equal scores.
    """
    keys, values = np.asarray(frames), np.asarray(boxes_px).reshape(-1, 4)
    order = np.lexsort((*values.T[::-1], -np.asarray(scores), keys))
    starts = np.flatnonzero(np.concatenate([[True], keys[order][1:] != keys[order][:-1]]))
    lengths = np.diff(np.append(starts, len(order)))
    places = np.empty(len(keys), dtype=np.int64)
    places[order] = np.arange(len(order)) - np.repeat(starts, lengths)
    return places
