"""Human3.6M's clips (sequence x camera) with labels, joined to the rows of a data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from cache.imported import ImportedKeypoints
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows
from stages.extract.datasets.human36m.cameras import CameraKey
from stages.extract.datasets.human36m.names import ACTIONS, CAMERA_IDS, SPLITS, Take
from stages.extract.datasets.human36m.protocol import Selection
from stages.extract.datasets.picture_files import NO_VIDEO, PictureFiles
from stages.extract.datasets.rows import choose_rows
from stages.extract.imports.order import refuse_misplaced

Float32 = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Clip:
    """N labelled frames of one sequence and camera.

    Args:
        name: unique, without the folder of the data set.
        take: which sequence.
        camera: position in `CAMERA_IDS`.
        pictures: a video below the pictures' root, or N picture files there.
        frames: `[N]` int32, ascending, counted from 1 as the names of extracted pictures are.
        joints_2d_px: `[N, 17, 2]`.
        joints_3d_mm: `[N, 17, 3]`, camera frame.
        valid: `[N, 17]`.
        boxes_px: `[N, 4]` x1, y1, x2, y2; in all clips or in none.
        imported: `[N, J, 3]` x, y px and score, by name; the same names in all clips.
        sizes: `[N, 2]` int32 (H, W); None leaves them to be read with the plan.
    """

    name: str
    take: Take
    camera: int
    pictures: str | tuple[str, ...]
    frames: NDArray[np.int32]
    joints_2d_px: Float32
    joints_3d_mm: Float32
    valid: NDArray[np.bool_]
    boxes_px: Float32 | None = None
    imported: Mapping[str, Float32] = field(default_factory=dict)
    sizes: NDArray[np.int32] | None = None

    @property
    def camera_key(self) -> CameraKey:
        """Key of the clip's camera."""
        return self.take.subject, CAMERA_IDS[self.camera]

    @property
    def items(self) -> list[str]:
        """One name per frame."""
        if isinstance(self.pictures, str):
            return [f"{self.name}/{frame:06d}" for frame in self.frames]
        return list(self.pictures)

    def at(self, chosen: NDArray[np.intp]) -> Clip:
        """Return the clip with these of its frames."""
        pictures = self.pictures
        if not isinstance(pictures, str):
            pictures = tuple(pictures[i] for i in chosen)
        return replace(
            self,
            pictures=pictures,
            frames=self.frames[chosen],
            joints_2d_px=self.joints_2d_px[chosen],
            joints_3d_mm=self.joints_3d_mm[chosen],
            valid=self.valid[chosen],
            boxes_px=None if self.boxes_px is None else self.boxes_px[chosen],
            imported={name: points[chosen] for name, points in self.imported.items()},
            sizes=None if self.sizes is None else self.sizes[chosen],
        )


def join_clips(
    clips: Sequence[Clip],
    cameras: Mapping[CameraKey, Camera],
    selection: Selection,
    skeletons: Mapping[str, str] | None = None,
) -> DatasetRows:
    """Return the rows of the clips, ordered by split, clip and frame.

    Args:
        clips: those that `selection` keeps.
        cameras: of every subject and camera of the clips.
        selection: splits, stride and limit.
        skeletons: joint set of each imported detection.

    Raises:
        DatasetError: there is no clip, a camera is unknown, or detections are not of these frames.
    """
    if not clips:
        raise DatasetError(f"No labelled sequence is left of subjects {selection.subjects}.")
    missing = sorted({clip.camera_key for clip in clips} - set(cameras))
    if missing:
        raise DatasetError(f"The calibration lacks the cameras {missing[:4]}.")
    kept = _choose(clips, selection)
    lengths = [len(clip.frames) for clip in kept]
    used = sorted({clip.camera_key for clip in kept})
    boxes = [clip.boxes_px for clip in kept if clip.boxes_px is not None]
    sizes = [clip.sizes for clip in kept if clip.sizes is not None]

    def column(words: Sequence[str]) -> IndexColumn:
        column = IndexColumn.from_words(words)
        return IndexColumn(np.repeat(column.codes, lengths), column.vocabulary)

    splits = [selection.split_of(clip.take.subject) for clip in kept]
    camera_codes = [used.index(clip.camera_key) for clip in kept]
    plan = RowPlan(
        skeleton="H36M17",
        joints_2d_px=np.concatenate([clip.joints_2d_px for clip in kept]),
        joints_3d_mm=np.concatenate([clip.joints_3d_mm for clip in kept]),
        valid=np.concatenate([clip.valid for clip in kept]),
        index={
            "split": IndexColumn(np.repeat(splits, lengths).astype(np.int32), SPLITS),
            "subject": column([clip.take.subject for clip in kept]),
            "action": column([ACTIONS[clip.take.action] for clip in kept]),
            "subaction": column([str(clip.take.subaction) for clip in kept]),
            "camera": IndexColumn(
                np.repeat(camera_codes, lengths).astype(np.int32),
                tuple(cameras[key].name for key in used),
            ),
            "person": column(["0"] * len(kept)),
            "clip": column([clip.name for clip in kept]),
            "frame": IndexColumn(np.concatenate([clip.frames for clip in kept])),
            "item": IndexColumn.from_words([item for clip in kept for item in clip.items]),
        },
        image_size=np.concatenate(sizes) if sizes else np.zeros((sum(lengths), 2), dtype=np.int32),
        cameras=tuple(cameras[key] for key in used),
        boxes_px=np.concatenate(boxes) if boxes else None,
    )
    imported = {
        name: ImportedKeypoints(skeleton, np.concatenate([clip.imported[name] for clip in kept]))
        for name, skeleton in (skeletons or {}).items()
    }
    for name, found in imported.items():
        # Also tells a wrong calibration, where labels are projected with it.
        refuse_misplaced(plan, found.points, found.skeleton, Path(f"2D detections {name!r}"))
    return DatasetRows(plan, _pictures(kept), imported)


def finite(*coordinates: Float32) -> NDArray[np.bool_]:
    """Return which joints are finite in all arrays `[N, J, ...]`, which get zeros elsewhere."""
    valid = np.logical_and.reduce([np.isfinite(values).all(axis=-1) for values in coordinates])
    for values in coordinates:
        values[~valid] = 0
    return np.asarray(valid, dtype=np.bool_)


def _choose(clips: Sequence[Clip], selection: Selection) -> list[Clip]:
    ordered = sorted(clips, key=lambda clip: (selection.split_of(clip.take.subject), clip.name))
    lengths = [len(clip.frames) for clip in ordered]
    rows = choose_rows(
        np.repeat([selection.split_of(clip.take.subject) for clip in ordered], lengths),
        np.repeat(np.arange(len(ordered)), lengths),
        np.concatenate([clip.frames for clip in ordered]),
        stride=selection.stride,
        limit=selection.limit,
    )
    starts = np.concatenate([[0], np.cumsum(lengths)])
    bounds = np.searchsorted(rows, starts)  # rows ascend, because the clips are in their order
    chosen = [
        clip.at(rows[low:high] - start)
        for clip, start, (low, high) in zip(ordered, starts, pairwise(bounds), strict=False)
    ]
    return [clip for clip in chosen if len(clip.frames)]


def _pictures(clips: Sequence[Clip]) -> PictureFiles:
    paths: list[str] = []
    numbers: list[NDArray[np.int32]] = []
    for clip in clips:
        if isinstance(clip.pictures, str):
            paths += [clip.pictures] * len(clip.frames)
            numbers.append(clip.frames - 1)
        else:
            paths += clip.pictures
            numbers.append(np.full(len(clip.frames), NO_VIDEO, dtype=np.int32))
    return PictureFiles.from_paths(paths, np.concatenate(numbers))
