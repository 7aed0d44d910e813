"""Where a lifter looks around chosen joints, on the pictures of chosen frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lifter.metrics import joint_errors_mm
from lifter.sampled_points import samples_around_joints
from pipeline.report.evaluating import ReportRun
from pipeline.report.frames import ShownFrame
from stages.lift.feed.windows import windowing_of
from stages.lift.sampled_pictures import SampledPicture, sampled_pictures

LEVEL_COLOURS = ("#ffd92f", "#66e0ff", "#ff6fae", "#8aff80", "#ffffff", "#c9a6ff")
_NUM_JOINTS = 4
_DIMMEST = 0.12


@dataclass(frozen=True)
class Dot:
    """One sample: where on the picture, how bright, of which layer and level."""

    x: float
    y: float
    weight: float  # attention, the weights of a head's points sum to 1
    opacity: float
    layer: int  # from 1
    level: str
    head: int
    colour: str


@dataclass(frozen=True)
class Tile:
    """A joint of a frame with the samples around it."""

    frame: ShownFrame
    joint: str
    at: tuple[float, float]  # the 2D joint, px
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class SamplingSection:
    """The tiles of a run, a row per frame."""

    rows: tuple[tuple[Tile, ...], ...]
    num_layers: int
    levels: tuple[tuple[str, str], ...]  # name and colour
    num_heads: int
    num_points: int


def why_no_sampling(run: ReportRun) -> str:
    """Return why no learned sampling points can be drawn of this run; empty if they can."""
    if not samples_around_joints(run.loaded.model):
        return f"{run.metrics['lifter']} as set up here learns no sampling points."
    context = run.loaded.config.data.context
    if context != "own":
        return f"The context of this run is {context}: its maps are not those of the picture."
    if windowing_of(run.loaded.description.lifter, run.loaded.config.data) is not None:
        return "Sampling points of windows are not drawn."
    return ""


def sampling_section(run: ReportRun, frames: Sequence[ShownFrame]) -> SamplingSection:
    """Return where the run looks in these frames (of one split), for its worst joints there."""
    split = frames[0].split
    found = sampled_pictures(
        run.loaded, run.reader, split, [frame.sample for frame in frames], run.evaluate
    )
    joints = worst_joints(run, split)
    names = run.reader.label_skeleton.joints
    rows = tuple(
        tuple(
            Tile(frame, names[joint], frame.points[joint], dots_of(picture, joint))
            for joint in joints
        )
        for frame, picture in zip(frames, found, strict=True)
    )
    num_layers, _, _, heads, points = found[0].weights.shape
    levels = tuple((name, _colour(index)) for index, name in enumerate(found[0].level_names))
    return SamplingSection(rows, num_layers, levels, heads, points)


def worst_joints(run: ReportRun, split: str) -> list[int]:
    """Return the joints with the largest mean error on a split, the largest first."""
    evaluation = run.evaluations[split]
    errors = joint_errors_mm(evaluation.predicted_mm, evaluation.true_mm).mean(axis=0)
    worst: list[int] = np.argsort(errors)[::-1][:_NUM_JOINTS].tolist()
    return worst


def dots_of(picture: SampledPicture, joint: int) -> tuple[Dot, ...]:
    """Return the samples of a joint, the dimmest first, so that bright ones lie on top."""
    points, weights = picture.points_px[:, :, joint], picture.weights[:, :, joint]
    brightest = float(weights.max())
    dots = []
    for layer, level, head, point in np.ndindex(*weights.shape):
        weight = float(weights[layer, level, head, point])
        x, y = points[layer, level, head, point]
        dots.append(
            Dot(
                x=round(float(x), 2),
                y=round(float(y), 2),
                weight=round(weight, 4),
                opacity=round(_DIMMEST + (1 - _DIMMEST) * weight / brightest, 3),
                layer=layer + 1,
                level=picture.level_names[level],
                head=head + 1,
                colour=_colour(level),
            )
        )
    return tuple(sorted(dots, key=lambda dot: dot.weight))


def _colour(level: int) -> str:
    return LEVEL_COLOURS[level % len(LEVEL_COLOURS)]
