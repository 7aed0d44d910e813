"""Which frames of a folder the boxes of a file belong to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.table import PICTURE, BoxTable, number_persons
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.folder_sources import Source

_NUM_NAMED = 5


@dataclass(frozen=True, eq=False)
class PlacedBoxes:
    """R boxes in their frames.

    Args:
        source: `[R]` position in the sources.
        frame: `[R]` frame of the source.
        track: `[R]` person within the source.
        boxes_px: `[R, 4]` x1, y1, x2, y2.
    """

    source: NDArray[np.int64]
    frame: NDArray[np.int64]
    track: tuple[str, ...]
    boxes_px: NDArray[np.float64]


def place_boxes(table: BoxTable, sources: Sequence[Source], file: str) -> PlacedBoxes:
    """Return the frame of every box of a table.

    Pictures may be called by path, by name without suffix, or by the number in it (COCO's ids).
    Boxes without a track are numbered in their frame, the surest one first.

    Raises:
        DatasetError: boxes of files or frames that do not exist, or two of one person in one frame;
            the first ones are named.
    """
    names = _Names(sources)
    places: list[tuple[int, int] | None] = [
        names.place(name, int(frame)) for name, frame in zip(table.files, table.frames, strict=True)
    ]
    lost = [row for row, place in enumerate(places) if place is None]
    if lost:
        raise DatasetError(
            f"{file}: {len(lost)} of {len(table)} boxes are of files or frames that are not below "
            f"the folder: {_listed([_called(table, row) for row in lost])}. "
            f"It has {_listed([_counted(source) for source in sources])}. Correct the names in the "
            "box file, or dataset.root."
        )
    placed = np.array(places, dtype=np.int64).reshape(-1, 2)
    source, frame = placed.T
    if any(table.tracks):
        untracked = sum(not track for track in table.tracks)
        if untracked:
            raise DatasetError(f"{file}: {untracked} of {len(table)} boxes have no track.")
        track = table.tracks
        if parted := next((name for name in track if "/" in name), None):
            raise DatasetError(f"{file}: track {parted!r} has a slash, which parts names of clips.")
    else:
        one_number = source * (frame.max() + 1) + frame
        track = tuple(map(str, number_persons(one_number, table.scores, table.boxes_px)))
    _refuse_repeats(source, frame, track, table, file)
    return PlacedBoxes(source, frame, track, table.boxes_px)


def unboxed_note(placed: PlacedBoxes, sources: Sequence[Source]) -> str | None:
    """Return a sentence on the frames that nobody has a box in, None if there are none."""
    boxed = set(zip(placed.source.tolist(), placed.frame.tolist(), strict=True))
    total = sum(source.num_frames for source in sources)
    if len(boxed) == total:
        return None
    lacking = (
        f"{source.name} frame {frame}" if source.pictures is None else source.pictures[frame]
        for i, source in enumerate(sources)
        for frame in range(source.num_frames)
        if (i, frame) not in boxed
    )
    first = [name for name, _ in zip(lacking, range(_NUM_NAMED + 1), strict=False)]
    return (
        f"{total - len(boxed)} of {total} frames have no person box and so no row: "
        f"{_listed(first)}."
    )


class _Names:
    """Finds frames by what box files call them."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._by_path: dict[str, tuple[int, int | None]] = {}
        self._by_short: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for i, source in enumerate(sources):
            if source.pictures is None:
                self._by_path[source.name] = (i, None)
                continue
            for frame, picture in enumerate(source.pictures):
                self._by_path[picture] = (i, frame)
                stem = PurePosixPath(picture).stem
                for short in {PurePosixPath(picture).name, stem, _as_number(stem)}:
                    self._by_short[short].append((i, frame))

    def place(self, name: str, frame: int) -> tuple[int, int] | None:
        if not name and len(self._sources) == 1:
            return (0, frame) if frame < self._sources[0].num_frames else None
        found = self._by_path.get(PurePosixPath(name).as_posix()) if name else None
        if found is None:
            short = self._by_short.get(name, [])
            # A picture has one frame; an ambiguous short name is as good as none.
            return short[0] if len(short) == 1 and frame in (PICTURE, 0) else None
        source, picture = found
        if picture is not None:
            return (source, picture) if frame in (PICTURE, 0) else None
        inside = 0 <= frame < self._sources[source].num_frames
        return (source, frame) if inside else None


def _as_number(stem: str) -> str:
    return str(int(stem)) if stem.isdecimal() else stem


def _called(table: BoxTable, row: int) -> str:
    name, frame = table.files[row] or "the only video", int(table.frames[row])
    return name if frame == PICTURE else f"{name} frame {frame}"


def _counted(source: Source) -> str:
    if source.pictures is None:
        return f"{source.name} ({source.num_frames} frames)"
    plural = "s" if source.num_frames > 1 else ""
    return f"{source.num_frames} picture{plural}, the first {source.pictures[0]}"


def _refuse_repeats(
    source: NDArray[np.int64],
    frame: NDArray[np.int64],
    track: Sequence[str],
    table: BoxTable,
    file: str,
) -> None:
    seen: set[tuple[int, int, str]] = set()
    for row, key in enumerate(zip(source.tolist(), frame.tolist(), track, strict=True)):
        if key in seen:
            raise DatasetError(
                f"{file}: {_called(table, row)} has two boxes of track {track[row]!r}."
            )
        seen.add(key)


def _listed(names: Sequence[str]) -> str:
    more = ", ..." if len(names) > _NUM_NAMED else ""
    return ", ".join(names[:_NUM_NAMED]) + more
