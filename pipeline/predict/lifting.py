"""From pictures to poses: frames through the detector, and what it sees through the lifter."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache import FrameStatus, convert_keypoints, get_skeleton
from lifter.uncertainty import MEAN_ERROR_PER_SCALE
from pipeline.errors import ConfigError
from pipeline.predict.about import describe
from pipeline.predict.placing import place_poses
from pipeline.predict.poses import Poses
from pipeline.predict.setup import Setup
from pipeline.predict.smoothing import smooth_poses
from stages.extract.crops import box_for_row
from stages.extract.datasets.base import Dataset, FrameError
from stages.extract.passing import PassedFrames, pass_frames
from stages.lift.frame_lifter import FrameLifter, SeenFrames

Clock = Callable[[str, NDArray[np.int64]], NDArray[np.float64]]


@dataclass(frozen=True)
class PredictProgress:
    """How far it is."""

    rows_done: int
    num_rows: int
    seconds: float

    @property
    def rows_per_s(self) -> float:
        """Person-frames per second so far."""
        return self.rows_done / max(self.seconds, 1e-9)


def predict_poses(
    setup: Setup,
    dataset: Dataset,
    *,
    times_s: Clock = lambda _file, frames: frames / 25.0,
    progress: Callable[[PredictProgress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Poses | None:
    """Return the poses of all rows of a dataset, None if stopped; its labels are not looked at.

    Args:
        setup: the run with its detector.
        dataset: the frames and their boxes.
        times_s: when frames of a video or folder, by name, are shown: s since its first.
        progress: called after every part.
        stop: asked before every part; True ends it.

    Raises:
        ConfigError: intrinsics are given for pictures of several sizes.
        DetectorError: the crop does not fit the detector.
        StoreMismatch, LiftError: the run cannot lift what the detector sees.
    """
    began = time.perf_counter()
    plan = dataset.plan()
    if setup.config.predict.intrinsics is not None:
        _require_one_size(plan.image_size)
    num_rows, skeleton = len(plan), get_skeleton(setup.run.description.trained_on.skeleton)
    lifter = FrameLifter(
        setup.run,
        detector_skeleton=setup.detector_skeleton,
        crop_size=setup.crop.input_size,
        config=setup.config.evaluate,
    )
    clips = plan.index["clip"].codes.astype(np.int64)
    frames = plan.index["frame"].codes.astype(np.int64)
    detected = np.full((num_rows, setup.detector_skeleton.num_joints, 3), np.nan)
    status = np.zeros(num_rows, dtype=np.uint8)
    num_done = 0
    parts = pass_frames(dataset, setup.detector, setup.crop, setup.config.extract, stop=stop)
    for passed in parts:
        rows = np.array(passed.rows)
        num_done += len(rows)
        status[rows] = passed.content.status
        good = rows[passed.usable]
        detected[good] = passed.content.keypoints["detector"][passed.usable, 0]
        lifter.add(_seen(passed, clips[good], frames[good], plan.image_size[good]))
        if progress is not None:
            seconds = time.perf_counter() - began
            progress(PredictProgress(num_done, num_rows, seconds))
    if num_done < num_rows:
        return None
    lifted = lifter.finish()
    usable = status == FrameStatus.OK
    poses = np.full((num_rows, skeleton.num_joints, 3), np.nan)
    poses[usable] = lifted.joints_3d_mm
    lifted_px = np.full((num_rows, skeleton.num_joints, 3), np.nan)
    lifted_px[usable] = convert_keypoints(detected[usable], setup.detector_skeleton, skeleton)
    owners = plan.index["action"].words()
    when_s = np.empty(num_rows)
    for name in dict.fromkeys(owners):
        mine = np.array(owners) == name
        when_s[mine] = times_s(name, frames[mine])
    choice = setup.config.predict
    placed = place_poses(
        poses[usable],
        lifted_px[usable],
        skeleton,
        choice,
        scale_mm=lifted.scale_mm,
        refinement=setup.config.evaluate.refinement,
    )
    root_mm = spread_mm = None
    if lifted.scale_mm is not None:
        spread_mm = np.full((num_rows, skeleton.num_joints), np.nan)
        spread_mm[usable] = MEAN_ERROR_PER_SCALE * lifted.scale_mm
    if placed is not None:
        root_mm = np.full((num_rows, 3), np.nan)
        poses[usable], root_mm[usable] = placed.joints_3d_mm, placed.root_mm
        root_mm = smooth_poses(root_mm, clips, when_s, choice.smooth_s)
    poses = smooth_poses(poses, clips, when_s, choice.smooth_s)
    return Poses(
        skeleton=skeleton,
        detector_skeleton=setup.detector_skeleton,
        files=tuple(owners),
        frames=frames,
        people=tuple(_people(dataset)),
        clips=clips,
        time_s=when_s,
        image_size=plan.image_size.astype(np.int64),
        boxes_px=_boxes(dataset, setup),
        status=status,
        joints_3d_mm=poses,
        keypoints_px=lifted_px,
        detected_px=detected,
        root_mm=root_mm,
        spread_mm=spread_mm,
        about=describe(setup, dataset),
    )


def _require_one_size(image_size: NDArray[np.integer]) -> None:
    sizes = np.unique(image_size[(image_size > 0).all(axis=1)], axis=0)
    if len(sizes) > 1:
        listed = ", ".join(f"{width} x {height}" for height, width in sizes[:4].tolist())
        raise ConfigError(
            f"--intrinsics are in px of one camera's pictures, but these are of {len(sizes)} sizes"
            f" ({listed}{', ...' if len(sizes) > 4 else ''}). Predict each size on its own."
        )


def _seen(
    passed: PassedFrames,
    clips: NDArray[np.int64],
    frames: NDArray[np.int64],
    image_size: NDArray[np.int32],
) -> SeenFrames:
    content, usable = passed.content, passed.usable
    return SeenFrames(
        clips=clips,
        frames=frames,
        keypoints=content.keypoints["detector"][usable],
        image_size=image_size,
        affine=content.crop_affine[usable],
        maps={name: maps[usable] for name, maps in content.features.items()},
    )


def _people(dataset: Dataset) -> list[str]:
    column = dataset.plan().index["person"]
    return column.words() if column.vocabulary else [str(code) for code in column.codes]


def _boxes(dataset: Dataset, setup: Setup) -> NDArray[np.float64]:
    plan = dataset.plan()
    boxes = np.full((len(plan), 4), np.nan)
    for row in range(len(plan)):
        try:
            boxes[row] = box_for_row(plan, row, setup.crop.box_source)
        except FrameError:
            continue
    return boxes
