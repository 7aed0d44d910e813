"""Poses for the viewers of a page: whole mm, camera axes, relative to the root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import Skeleton
from pipeline.report.evaluating import ReportRun
from pipeline.report.pictures import CroppedPicture
from stages.lift import Evaluation
from stages.lift.figures import bones


def skeleton_lines(skeleton: Skeleton) -> list[list[Any]]:
    """Return [joint, parent, colour] of every bone; left orange, right blue."""
    return [list(bone) for bone in bones(skeleton)]


def sides_of(skeleton: Skeleton) -> dict[str, str]:
    """Return `left` or `right` by the name of every joint that has a side."""
    named = [(skeleton.left, "left"), (skeleton.right, "right")]
    return {skeleton.joints[joint]: side for joints, side in named for joint in joints}


def scene(
    run: ReportRun,
    evaluations: Sequence[Evaluation],  # of the runs shown, on the same split
    samples: Sequence[NDArray[np.int64]],  # of each evaluation, [F] the frames shown
    *,
    pictures: Sequence[CroppedPicture | None] = (),
    labels: Sequence[str] = (),
) -> dict[str, Any]:
    """Return what a viewer needs: bones, true and predicted poses, errors, pictures, 2D joints.

    Poses are flat lists x, y, z, x, ... of whole mm.
    """
    first = evaluations[0]
    true_mm = first.true_mm[samples[0]]
    content: dict[str, Any] = {
        "bones": skeleton_lines(run.reader.label_skeleton),
        "true": [_whole(pose) for pose in true_mm],
        "predicted": [
            [_whole(pose) for pose in evaluation.predicted_mm[chosen]]
            for evaluation, chosen in zip(evaluations, samples, strict=True)
        ],
        "errors": [
            [round(float(v), 1) for v in evaluation.frame_mpjpe_mm[chosen]]
            for evaluation, chosen in zip(evaluations, samples, strict=True)
        ],
        "labels": list(labels),
    }
    if any(pictures):
        content["pictures"] = [_picture(picture) for picture in pictures]
        points = first.keypoints_px[samples[0]]
        content["joints_px"] = [[round(float(v), 1) for v in frame.reshape(-1)] for frame in points]
    return content


def _whole(pose_mm: NDArray[np.float64]) -> list[int]:
    flat: list[int] = np.rint(pose_mm).astype(int).reshape(-1).tolist()
    return flat


def _picture(picture: CroppedPicture | None) -> Mapping[str, Any] | None:
    if picture is None:
        return None
    box = [picture.left_px, picture.top_px, picture.width_px, picture.height_px]
    return {"uri": picture.uri, "box": box}
