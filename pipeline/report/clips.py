"""One clip, frame by frame: errors of all runs shown, and their poses for the player."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.report.evaluating import ReportRun
from pipeline.report.pictures import CroppedPicture, Pictures
from pipeline.report.scenes import scene

_MOST_FRAMES = 100
_LONGEST_PX = 220


@dataclass(frozen=True)
class ShownClip:
    """A clip of a split and why it is this one."""

    split: str
    name: str
    why: str
    frames: NDArray[np.int64]  # [n] numbers in the clip
    errors_mm: tuple[NDArray[np.float64], ...]  # of every run shown, [n]
    samples: tuple[NDArray[np.int64], ...]  # positions in the evaluation of every run, [n]


def chosen_clip(
    runs: Sequence[ReportRun], names: Sequence[str], split: str, *, base: int | None
) -> ShownClip:
    """Return the clip in which a run gains most, in the mean over its frames.

    Args:
        runs: all that are shown; they were evaluated on `split`.
        names: of the runs.
        split: its name.
        base: which of the runs the others are held against; the run that gains is the first of the
            others. None: there is one run, and a typical clip of it is returned.
    """
    evaluations = [run.evaluations[split] for run in runs]
    rows = functools.reduce(np.intersect1d, [each.rows for each in evaluations])
    samples = [np.searchsorted(each.rows, rows) for each in evaluations]
    errors = [
        each.frame_mpjpe_mm[chosen] for each, chosen in zip(evaluations, samples, strict=True)
    ]
    column = runs[0].reader.index("clip")
    codes = column.codes[rows]
    clips, inverse = np.unique(codes, return_inverse=True)
    means = np.stack([_means(error, inverse, len(clips)) for error in errors])  # [runs, clips]
    if base is None:
        best = int(np.argmin(np.abs(means[0] - errors[0].mean())))
        why = (
            f"Its mean error, {means[0, best]:.1f} mm, is nearest to that of all frames of the"
            f" split ({errors[0].mean():.1f} mm): a typical clip."
        )
    else:
        gaining = next(index for index in range(len(runs)) if index != base)
        gains = means[base] - means[gaining]
        best = int(np.argmax(gains))
        why = (
            f"Chosen because here the gain of {names[gaining]} over {names[base]} is largest of all"
            f" {len(clips)} clips:"
            f" {gains[best]:.1f} mm ({means[base, best]:.1f} - {means[gaining, best]:.1f}); in the"
            f" mean over all frames of the split it is"
            f" {errors[base].mean() - errors[gaining].mean():.1f} mm, and the error falls in"
            f" {int((gains > 0).sum())} of the {len(clips)} clips."
        )
    inside = np.flatnonzero(inverse == best)
    words = column.vocabulary
    return ShownClip(
        split=split,
        name=words[clips[best]] if words else f"clip {clips[best]}",
        why=why,
        frames=runs[0].reader.index("frame").codes[rows[inside]].astype(np.int64),
        errors_mm=tuple(error[inside] for error in errors),
        samples=tuple(np.asarray(chosen[inside], dtype=np.int64) for chosen in samples),
    )


def player_scene(runs: Sequence[ReportRun], clip: ShownClip, pictures: Pictures) -> dict[str, Any]:
    """Return the poses of a clip, evenly thinned out to at most `_MOST_FRAMES`, with pictures.

    All pictures show the same part of the scene, in which every frame of the clip fits.
    """
    evaluations = [run.evaluations[clip.split] for run in runs]
    kept = slice(None, None, -(-len(clip.frames) // _MOST_FRAMES))
    samples = [chosen[kept] for chosen in clip.samples]
    rows = evaluations[0].rows[samples[0]]
    points = evaluations[0].keypoints_px[samples[0]]
    cropped: list[CroppedPicture | None] = []
    for row in rows:
        cropped.append(pictures.crop(int(row), points, longest_px=_LONGEST_PX))
        if cropped[0] is None:  # where the first one cannot be read, the others are not tried
            cropped = []
            break
    labels = [f"frame {number}" for number in clip.frames[kept]]
    return scene(runs[0], evaluations, samples, pictures=cropped, labels=labels)


def _means(
    values: NDArray[np.float64], inverse: NDArray[np.intp], count: int
) -> NDArray[np.float64]:
    sums = np.bincount(inverse, weights=values, minlength=count)
    means: NDArray[np.float64] = sums / np.bincount(inverse, minlength=count)
    return means
