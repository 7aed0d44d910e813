"""From clips of MPI-INF-3DHP, in whichever files they came, to rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from cache.conversions import conversion_note, convert_keypoints
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows
from stages.extract.datasets.mpi_inf_3dhp.facts import TEST_SUBJECTS, TRAIN_SUBJECTS
from stages.extract.datasets.picture_files import NO_VIDEO, PictureFiles
from stages.extract.datasets.rows import choose_rows

SPLITS = ("train", "validation", "test")
Joints = Literal["MPI17", "H36M17"]
"""`MPI17` as published; `H36M17` are the same joints in Human3.6M's order, to which those of COCO
detectors can be converted."""

UNIVERSAL_NOTE = (
    "The 3D labels are univ_annot3, every person scaled to one height: they do not project onto "
    "the picture, and the 2D labels are annot2."
)


@dataclass(frozen=True, eq=False)
class Clip:
    """One sequence seen by one camera, in frame order.

    Args:
        name: of the clip and of its camera.
        subject: `S1` to `S8`, or `TS1` to `TS6`, which are the test split.
        frames: `[n]` int32, from 1 as in picture names.
        joints_2d_px: `[n, 17, 2]`, NaN where unknown.
        joints_3d_mm: `[n, 17, 3]` camera frame, absolute, NaN where unknown.
        pictures: `[n]` picture files, or the one video file, below the dataset's pictures.
        actions: `[n]` or the one of all rows.
        boxes_px: `[n, 4]` boxes that come with the labels.
    """

    name: str
    subject: str
    frames: NDArray[np.int32]
    joints_2d_px: NDArray[np.float32]
    joints_3d_mm: NDArray[np.float32]
    pictures: Sequence[str] | str
    actions: Sequence[str] | str
    boxes_px: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        parts = [self.joints_2d_px, self.joints_3d_mm, self.pictures, self.actions, self.boxes_px]
        lengths = {len(part) for part in parts if part is not None and not isinstance(part, str)}
        if lengths != {len(self.frames)}:
            raise DatasetError(
                f"MPI-INF-3DHP's {self.name} has {len(self.joints_2d_px)} poses in 2D and "
                f"{len(self.joints_3d_mm)} in 3D for {len(self.frames)} frames; they must agree."
            )


@dataclass(frozen=True)
class Selection:
    """Which rows become a dataset, and in which split."""

    validation_subjects: tuple[str, ...] = ("S8",)
    subjects: tuple[str, ...] | None = None
    stride: int = 1
    limit: int | None = None

    @classmethod
    def of(
        cls,
        validation_subjects: Sequence[str],
        subjects: Sequence[str] | None,
        stride: int,
        limit: int | None,
    ) -> Selection:
        """Check and order what a user asked for; raises DatasetError for unknown subjects."""
        known = {*TRAIN_SUBJECTS, *TEST_SUBJECTS}
        unknown = sorted({*validation_subjects, *(subjects or ())} - known)
        if unknown:
            raise DatasetError(
                f"MPI-INF-3DHP has no subjects {unknown}; training subjects are S1 to S8, test "
                "subjects TS1 to TS6."
            )
        chosen = None if subjects is None else tuple(sorted(subjects))
        return cls(tuple(sorted(validation_subjects)), chosen, stride, limit)

    def has(self, subject: str) -> bool:
        """Return whether rows of a subject are kept."""
        return self.subjects is None or subject in self.subjects

    def split(self, subject: str) -> int:
        """Return the position in `SPLITS` of a subject's rows."""
        if subject in TEST_SUBJECTS:
            return 2
        return 1 if subject in self.validation_subjects else 0

    def options(self) -> dict[str, Any]:
        """Return the part of the content identity."""
        return {
            "validation_subjects": list(self.validation_subjects),
            "subjects": None if self.subjects is None else list(self.subjects),
            "stride": self.stride,
            "limit": self.limit,
        }


@dataclass(frozen=True, eq=False)
class _Order:
    """The rows that are kept: position of the clip, and position within it."""

    clip: NDArray[np.intp]
    row: NDArray[np.intp]
    split: NDArray[np.int32]
    frame: NDArray[np.int32]
    starts: NDArray[np.intp] = field(repr=False)

    def take(self, parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
        """Return the kept rows of arrays that come as one part per clip."""
        chosen: NDArray[Any] = np.concatenate(parts)[self.starts[self.clip] + self.row]
        return chosen


def dataset_rows(
    clips: Sequence[Clip],
    selection: Selection,
    *,
    cameras: Mapping[str, Camera],
    source: str,
    skeleton: Joints,
    notes: tuple[str, ...] = (),
) -> DatasetRows:
    """Return the rows of clips of a selection's subjects; picture sizes stay (0, 0).

    Args:
        clips: in the order that their rows shall have within a split.
        selection: what to keep.
        cameras: by clip name; none at all where the files have no calibration.
        source: names the files in errors.
        skeleton: joint set of the rows.
        notes: of the labels.

    Raises:
        DatasetError: no row is left, or a joint set is not one of `Joints`.
    """
    if skeleton not in get_args(Joints):
        raise DatasetError(f"skeleton is one of {get_args(Joints)}, got {skeleton!r}.")
    clips = [clip for clip in clips if selection.has(clip.subject) and len(clip.frames)]
    if not clips:
        raise DatasetError(f"{source}: subjects {selection.subjects} leave no labelled frame.")
    order = _order(clips, selection)
    used = [clips[number] for number in np.unique(order.clip)]
    joints_2d, joints_3d = (
        order.take([getattr(clip, name) for clip in clips])
        for name in ("joints_2d_px", "joints_3d_mm")
    )
    valid = np.isfinite(joints_2d).all(axis=-1) & np.isfinite(joints_3d).all(axis=-1)
    if skeleton == "H36M17":
        parts = (np.nan_to_num(joints_2d), np.nan_to_num(joints_3d), valid[..., None].astype(float))
        joints_2d, joints_3d, found = (convert_keypoints(p, "MPI17", skeleton) for p in parts)
        valid = found[..., 0] > 0
        notes += (f"The labels are {conversion_note('MPI17', skeleton)}.",)
    boxes = [clip.boxes_px for clip in clips if clip.boxes_px is not None]
    paths, numbers = _pictures(clips, order)
    plan = RowPlan(
        skeleton=skeleton,
        joints_2d_px=np.where(valid[..., None], joints_2d, 0),
        joints_3d_mm=np.where(valid[..., None], joints_3d, 0),
        valid=valid,
        index=_index(clips, used, order),
        image_size=np.zeros((len(valid), 2), dtype=np.int32),
        cameras=tuple(cameras[clip.name] for clip in used) if cameras else (),
        boxes_px=order.take(boxes) if len(boxes) == len(clips) else None,
    )
    return DatasetRows(plan, PictureFiles.from_paths(paths, numbers), notes=notes)


def _order(clips: Sequence[Clip], selection: Selection) -> _Order:
    lengths = [len(clip.frames) for clip in clips]
    starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].astype(np.intp)
    clip = np.repeat(np.arange(len(clips)), lengths)
    split = np.array([selection.split(clip.subject) for clip in clips], dtype=np.int32)[clip]
    frame = np.concatenate([clip.frames for clip in clips])
    chosen = choose_rows(split, clip, frame, stride=selection.stride, limit=selection.limit)
    return _Order(clip[chosen], chosen - starts[clip[chosen]], split[chosen], frame[chosen], starts)


def _pictures(clips: Sequence[Clip], order: _Order) -> tuple[list[str], NDArray[np.int32] | None]:
    is_video = np.array([isinstance(clip.pictures, str) for clip in clips])[order.clip]
    paths = [
        clips[number].pictures if video else clips[number].pictures[row]
        for number, row, video in zip(order.clip, order.row, is_video, strict=True)
    ]
    frames = np.where(is_video, order.frame - 1, NO_VIDEO).astype(np.int32)
    return [str(path) for path in paths], frames if is_video.any() else None


def _index(clips: Sequence[Clip], used: Sequence[Clip], order: _Order) -> dict[str, IndexColumn]:
    names = tuple(clip.name for clip in used)
    position = np.zeros(len(clips), dtype=np.int32)
    position[np.unique(order.clip)] = np.arange(len(used))
    codes = position[order.clip]
    rows = list(zip(order.clip, order.row, order.frame, strict=True))
    actions = [(clips[number].actions, row) for number, row, _ in rows]
    return {
        "split": IndexColumn(order.split, SPLITS),
        "subject": IndexColumn.from_words([clips[number].subject for number, _, _ in rows]),
        "action": IndexColumn.from_words(
            [words if isinstance(words, str) else words[row] for words, row in actions]
        ),
        "subaction": IndexColumn.from_words(["0"] * len(rows)),
        "camera": IndexColumn(codes, names),
        "person": IndexColumn.from_words(["0"] * len(rows)),
        "clip": IndexColumn(codes, names),
        "frame": IndexColumn(order.frame),
        "item": IndexColumn.from_words(
            [f"{clips[number].name}.{frame:06d}" for number, _, frame in rows]
        ),
    }
