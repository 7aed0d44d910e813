"""Pictures and videos without labels; each video and each folder of pictures is a sequence.

    <root>/walk.mp4
    <root>/hall/0001.jpg ...
    <root>/people.csv           (option boxes)

Without boxes every frame is one row, to be used whole (`crop.box_source: full`). With a box file
(`stages/extract/boxes/files.py` has the formats) every box is a row, and every person of every
sequence a clip. Frames of a clip ascend but may have gaps. Joints are all invalid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from cache.plan import IndexColumn, RowPlan
from cache.skeletons import get_skeleton
from stages.extract.boxes.files import read_boxes
from stages.extract.datasets.base import BoxOrigin, DatasetError, OptionError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.folder_boxes import PlacedBoxes, place_boxes, unboxed_note
from stages.extract.datasets.folder_sources import Source, find_sources, natural_key
from stages.extract.datasets.picture_files import NO_VIDEO, PictureFiles
from stages.extract.datasets.rows import choose_rows

SPLITS = ("train", "validation", "test")


class Folder(FiledDataset):
    """Rows of a folder: sequences in natural order of names, then persons, then frames."""

    adapter = "folder"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "folder",
        boxes: str | None = None,
        min_score: float = 0.0,
        split: Literal["train", "validation", "test"] = "test",
        skeleton: str = "COCO17",
        only: str | None = None,
        stride: int = 1,
        frame_stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Look for pictures and videos.

        Args:
            root: folder that is searched with all folders below it.
            name: under which stores and tables list it.
            boxes: box file, relative to `root`; None for whole frames.
            min_score: leave out boxes that are less sure.
            split: of all rows.
            skeleton: joint set of the (invalid) labels.
            only: name of the one picture or video in `root` that is wanted; None for all.
            stride: keep every `stride`-th row of each clip.
            frame_stride: keep frames whose number is a multiple of this, the same of all persons.
            limit: keep at most this many rows, evenly spaced.

        Raises:
            DatasetError: no such folder or box file, an unknown split.
        """
        if split not in SPLITS:
            raise OptionError(f"Split {split!r} is unknown; set split to {', '.join(SPLITS)}.")
        self._boxes = None if boxes is None else Path(root) / boxes
        if self._boxes is not None and not self._boxes.is_file():
            raise DatasetError(
                f"{self._boxes}: there is no such box file. Correct dataset.options.boxes, a path "
                "from dataset.root on or a whole one (of predict: --boxes); "
                "'posecache find-people' writes such files."
            )
        self._min_score, self._split, self._skeleton = min_score, split, skeleton
        if frame_stride < 1:
            raise OptionError(f"frame_stride must be at least 1, got {frame_stride}.")
        self._only, self._stride, self._limit = only, stride, limit
        self._frame_stride = frame_stride
        super().__init__(
            root,
            name=name,
            annotations=() if self._boxes is None else (self._boxes,),
            options={
                "min_score": min_score,
                "split": split,
                "skeleton": skeleton,
                "stride": stride,
                "limit": limit,
                # Left out where it is not used, as in stores from before there was the choice.
                **({} if only is None else {"only": only}),
                **({} if frame_stride == 1 else {"frame_stride": frame_stride}),
            },
        )

    @property
    def box_origin(self) -> BoxOrigin | None:
        """Who found the boxes: `detector` where the box file says so; None without boxes."""
        if self._boxes is None:
            return None
        return "imported" if read_boxes(self._boxes).found_by is None else "detector"

    def _read(self) -> DatasetRows:
        sources = find_sources(self._root, self._only)
        if self._boxes is None:
            placed, notes = _whole_frames(sources), []
        else:
            table = read_boxes(self._boxes)
            table = table.take(table.scores >= self._min_score)
            if not len(table):
                raise DatasetError(f"{self._boxes}: no box has a score of {self._min_score}.")
            placed = place_boxes(table, sources, str(self._boxes))
            notes = [unboxed_note(placed, sources)]
        is_kept = placed.frame % self._frame_stride == 0
        if not is_kept.any():
            raise DatasetError(
                f"{self._boxes}: no box is in a frame whose number is a multiple of"
                f" {self._frame_stride}. Take a smaller stride."
            )
        clips = [f"{sources[s].name}/{t}" for s, t in zip(placed.source, placed.track, strict=True)]
        first_seen = dict.fromkeys(_in_order(placed, clips))
        position = {clip: i for i, clip in enumerate(first_seen)}
        rows = choose_rows(
            np.zeros(len(clips)),
            [position[clip] for clip in clips],
            placed.frame,
            stride=self._stride,
            limit=self._limit,
            keep=is_kept,
        )
        plan, pictures = self._table(sources, placed, rows, [clips[row] for row in rows])
        return DatasetRows(plan, pictures, notes=tuple(note for note in notes if note))

    def _table(
        self,
        sources: tuple[Source, ...],
        placed: PlacedBoxes,
        rows: NDArray[np.intp],
        clips: list[str],
    ) -> tuple[RowPlan, PictureFiles]:
        frames = placed.frame[rows]
        owners = [sources[i] for i in placed.source[rows]]
        places = [owner.place(int(frame)) for owner, frame in zip(owners, frames, strict=True)]
        tracks = [placed.track[row] for row in rows]
        num_rows, num_joints = len(rows), get_skeleton(self._skeleton).num_joints
        constant = IndexColumn(np.zeros(num_rows, dtype=np.int32), ("0",))
        plan = RowPlan(
            skeleton=self._skeleton,
            joints_2d_px=np.zeros((num_rows, num_joints, 2), dtype=np.float32),
            joints_3d_mm=None,
            valid=np.zeros((num_rows, num_joints), dtype=np.bool_),
            index={
                "split": IndexColumn(
                    np.full(num_rows, SPLITS.index(self._split), dtype=np.int32), SPLITS
                ),
                "subject": constant,
                "action": IndexColumn.from_words([owner.name for owner in owners]),
                "subaction": constant,
                "camera": constant,
                "person": IndexColumn.from_words(tracks),
                "clip": IndexColumn.from_words(clips),
                "frame": IndexColumn(frames.astype(np.int32)),
                "item": IndexColumn.from_words(
                    [_item(place, track) for place, track in zip(places, tracks, strict=True)]
                ),
            },
            image_size=np.zeros((num_rows, 2), dtype=np.int32),
            boxes_px=None if self._boxes is None else placed.boxes_px[rows].astype(np.float32),
        )
        in_video = any(frame != NO_VIDEO for _, frame in places)
        numbers = np.array([frame for _, frame in places], dtype=np.int32) if in_video else None
        return plan, PictureFiles.from_paths([file for file, _ in places], numbers)


def _whole_frames(sources: tuple[Source, ...]) -> PlacedBoxes:
    counts = [source.num_frames for source in sources]
    return PlacedBoxes(
        np.repeat(np.arange(len(sources)), counts),
        np.concatenate([np.arange(count) for count in counts]),
        ("0",) * sum(counts),
        np.zeros((sum(counts), 4)),
    )


def _in_order(placed: PlacedBoxes, clips: list[str]) -> list[str]:
    """Return the clips by source, then by when the person is first seen, then by track."""
    source, frame = placed.source.tolist(), placed.frame.tolist()
    order = sorted(
        range(len(clips)),
        key=lambda row: (source[row], frame[row], natural_key(placed.track[row])),
    )
    return [clips[row] for row in order]


def _item(place: tuple[str, int], track: str) -> str:
    file, frame = place
    return f"{file}#{track}" if frame == NO_VIDEO else f"{file}#{frame}#{track}"
