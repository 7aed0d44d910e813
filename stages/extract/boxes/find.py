"""Finding the persons of a folder: every frame once, resumed where it was stopped, then tracks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.journal import Journal
from stages.extract.boxes.people import PeopleConfig, PersonDetector, checked_boxes
from stages.extract.boxes.table import BoxRows, BoxTable, number_persons
from stages.extract.boxes.tracks import UNTRACKED, link_boxes
from stages.extract.datasets.base import FrameError
from stages.extract.datasets.folder_sources import Source
from stages.extract.datasets.picture_files import NO_VIDEO
from stages.extract.datasets.pictures import read_picture
from stages.extract.datasets.videos import VideoPictures


class FindProgress(NamedTuple):
    """How far it is: frames looked at (in all runs), of how many, and in which sequence."""

    done: int
    total: int
    source: str


@dataclass(frozen=True, eq=False)
class FoundPeople:
    """What was found.

    Args:
        table: boxes with tracks, by sequence, frame and track.
        num_frames: frames looked at.
        num_boxes: boxes found, with those that are in no track.
        num_tracks: tracks of all sequences; without links the most persons in one frame of each.
        bad_frames: frames that cannot be read, by reason.
        complete: False where `stop` ended it early; the table is then empty.
    """

    table: BoxTable
    num_frames: int
    num_boxes: int
    num_tracks: int
    bad_frames: Mapping[str, int]
    complete: bool = True


def find_people(
    root: Path,
    sources: Sequence[Source],
    detector: PersonDetector,
    config: PeopleConfig,
    journal: Path,
    *,
    found_by: Mapping[str, Any],
    progress: Callable[[FindProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> FoundPeople:
    """Return the persons of all sequences.

    Args:
        root: folder that the sources are in.
        sources: the sequences.
        detector: finds persons in one picture.
        config: stride, links, tracks.
        journal: file that keeps what was found until all is done; a stopped run goes on from it.
        found_by: what decides the boxes; a journal of another detector is thrown away.
        progress: called after every frame.
        stop: asked before every frame.

    Raises:
        DetectorError: the detector returns something else than boxes.
    """
    name = str(found_by.get("detector", "detector"))
    read = _reader(root)
    total = sum(len(range(0, source.num_frames, config.stride)) for source in sources)
    identity = {
        "found_by": dict(found_by),
        "stride": config.stride,
        "sources": [[s.name, s.num_frames, _size_bytes(root, s)] for s in sources],
    }
    done = 0
    with Journal(journal, identity) as kept:
        for source in sources:
            for frame in range(0, source.num_frames, config.stride):
                if stop():
                    return FoundPeople(BoxRows().table(), done, 0, 0, {}, complete=False)
                if not kept.has(source.name, frame):
                    try:
                        picture = read(source, frame)
                        boxes = checked_boxes(detector(picture), picture.shape[:2], name)
                        kept.add(source.name, frame, boxes.tolist())
                    except FrameError as error:
                        kept.add(source.name, frame, error.status.name.lower())
                done += 1
                if progress is not None:
                    progress(FindProgress(done, total, source.name))
        return _linked(sources, kept, config, found_by)


def _linked(
    sources: Sequence[Source], kept: Journal, config: PeopleConfig, found_by: Mapping[str, Any]
) -> FoundPeople:
    rows, bad = BoxRows(), Counter[str]()
    num_frames = num_boxes = num_tracks = 0
    for source in sources:
        frames: list[int] = []
        boxes: list[list[float]] = []
        for frame in range(0, source.num_frames, config.stride):
            found = kept.found(source.name, frame)
            num_frames += 1
            if isinstance(found, str):
                bad[found] += 1
                continue
            frames += [frame] * len(found)
            boxes += found
        table = np.array(boxes, dtype=np.float64).reshape(-1, 5)
        num_boxes += len(table)
        numbers = np.array(frames, dtype=np.int64)
        tracks = _tracks(numbers, table, config, len(range(0, source.num_frames, config.stride)))
        num_tracks += int(tracks.max(initial=UNTRACKED)) + 1
        for row in np.lexsort((tracks, numbers)):
            if tracks[row] == UNTRACKED:
                continue
            file, number = source.place(frames[row])
            rows.add(
                file,
                file=file,
                frame=number,
                track=str(tracks[row]),
                box=table[row, :4].tolist(),
                score=table[row, 4],
            )
    return FoundPeople(rows.table(found_by), num_frames, num_boxes, num_tracks, dict(bad))


def _tracks(
    frames: NDArray[np.int64], boxes: NDArray[np.float64], config: PeopleConfig, num_frames: int
) -> NDArray[np.int64]:
    if config.link == "overlap":
        # Nobody can be seen more often than there are frames, as in a single picture.
        shortest = min(config.tracks.min_length, num_frames)
        tracks = config.tracks.model_copy(update={"min_length": shortest})
        return link_boxes(frames, boxes[:, :4], boxes[:, 4], tracks)
    places = number_persons(frames, boxes[:, 4], boxes[:, :4])
    return np.where(boxes[:, 4] >= config.tracks.min_score, places, UNTRACKED)


def _reader(root: Path) -> Callable[[Source, int], NDArray[np.uint8]]:
    videos = VideoPictures()

    def read(source: Source, frame: int) -> NDArray[np.uint8]:
        file, number = source.place(frame)
        path = root / file
        return read_picture(path) if number == NO_VIDEO else videos.read(path, number)

    return read


def _size_bytes(root: Path, source: Source) -> int:
    return sum((root / name).stat().st_size for name in source.pictures or (source.name,))
