"""The worst, median and best frames of a split, with picture, 2D joints and poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifter.metrics import joint_errors_mm
from pipeline.report.evaluating import ReportRun
from pipeline.report.pictures import CroppedPicture, Pictures, crop_around
from pipeline.report.scenes import scene, skeleton_lines
from stages.lift import Evaluation
from stages.lift.figures import describe_row

_LONGEST_PX = 340
_NAMED_JOINTS = 3


@dataclass(frozen=True)
class Line:
    """A bone on a picture, px."""

    x1: float
    y1: float
    x2: float
    y2: float
    colour: str


@dataclass(frozen=True)
class ShownFrame:
    """One frame of a split."""

    key: str  # of its viewer and of its picture in the page
    kind: str  # "worst", "worst of another clip", "median", "best"
    split: str
    sample: int  # position in the evaluation of the first run
    row: int  # of the store
    where: str  # subject, action, camera, frame
    errors_mm: tuple[float, ...]  # of every run shown
    worst_joints: str  # of the first run
    picture: CroppedPicture | None
    box: tuple[float, float, float, float]  # left, top, width, height of what is shown, px
    lines: tuple[Line, ...]
    points: tuple[tuple[float, float], ...]


def chosen_samples(
    error_mm: NDArray[np.float64],  # [n]
    clips: NDArray[np.integer],  # [n]
) -> dict[str, int]:
    """Return the frames to show: two worst ones, of different clips, the median and the best."""
    order = np.argsort(error_mm, kind="stable")
    chosen = {"worst": int(order[-1])}
    others = order[clips[order] != clips[order[-1]]]
    if len(others):
        chosen["worst of another clip"] = int(others[-1])
    return chosen | {"median": int(order[len(order) // 2]), "best": int(order[0])}


def shown_frames(
    runs: Sequence[ReportRun], split: str, pictures: Pictures
) -> tuple[list[ShownFrame], dict[str, Any]]:
    """Return frames of a split, chosen by the error of the first run, and the poses of all runs.

    The poses are by the `key` of the frame.
    """
    run = runs[0]
    evaluations = [each.evaluations[split] for each in runs]
    first = evaluations[0]
    clips = run.reader.index("clip").codes[first.rows]
    frames, scenes = [], {}
    for index, (kind, sample) in enumerate(chosen_samples(first.frame_mpjpe_mm, clips).items()):
        key = f"{split}-{index}"
        row = int(first.rows[sample])
        samples = [_sample_of(each, row) for each in evaluations]
        scenes[key] = scene(run, evaluations, [np.array([s]) for s in samples])
        errors = (float(e.frame_mpjpe_mm[s]) for e, s in zip(evaluations, samples, strict=True))
        frames.append(_frame(run, first, sample, key, kind, tuple(errors), pictures))
    return frames, scenes


def _sample_of(evaluation: Evaluation, row: int) -> int:
    return int(np.searchsorted(evaluation.rows, row))


def _frame(
    run: ReportRun,
    evaluation: Evaluation,
    sample: int,
    key: str,
    kind: str,
    errors_mm: tuple[float, ...],
    pictures: Pictures,
) -> ShownFrame:
    row, skeleton = int(evaluation.rows[sample]), run.reader.label_skeleton
    points = evaluation.keypoints_px[sample].astype(np.float64)
    picture = pictures.crop(row, points, longest_px=_LONGEST_PX)
    # Without a picture the same part of an empty one gives the frame of the drawing.
    height, width = (int(v) for v in run.reader.image_size()[row])
    shown = picture or crop_around(
        np.zeros((height, width, 3), dtype=np.uint8), points, longest_px=1
    )
    one = slice(sample, sample + 1)
    (joint_mm,) = joint_errors_mm(evaluation.predicted_mm[one], evaluation.true_mm[one])
    worst = np.argsort(joint_mm)[::-1][:_NAMED_JOINTS]
    lines = (
        Line(*_rounded(points[joint]), *_rounded(points[parent]), colour)
        for joint, parent, colour in skeleton_lines(skeleton)
    )
    return ShownFrame(
        key=key,
        kind=kind,
        split=evaluation.split,
        sample=sample,
        row=row,
        where=describe_row(run.reader, row),
        errors_mm=errors_mm,
        worst_joints=", ".join(f"{skeleton.joints[j]} {joint_mm[j]:.0f} mm" for j in worst),
        picture=picture,
        box=(shown.left_px, shown.top_px, shown.width_px, shown.height_px),
        lines=tuple(lines),
        points=tuple(_rounded(point) for point in points),
    )


def _rounded(point: NDArray[np.float64]) -> tuple[float, float]:
    return round(float(point[0]), 1), round(float(point[1]), 1)
