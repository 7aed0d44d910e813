"""Predictions for the viewer of rerun. The only file that imports it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import to_rgb

from pipeline.errors import PipelineError, UnwritableTarget
from pipeline.predict.drawing import place_people
from pipeline.predict.poses import Poses
from stages.lift.figures import bones


def require_rerun() -> Any:
    """Return the module `rerun`; raises PipelineError if it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise PipelineError(
            "--rerun needs rerun-sdk. Install it: pip install -c constraints.txt rerun-sdk."
        ) from error
    return rerun


def write_rerun(poses: Poses, path: Path) -> None:
    """Write a recording: bones of every person over time, in metres, y up as in the overlays.

    Raises:
        PipelineError: rerun is not installed.
        UnwritableTarget: the file cannot be written.
    """
    rerun = require_rerun()
    lines = bones(poses.skeleton)
    colours = [tuple(round(255 * part) for part in to_rgb(colour)) for *_, colour in lines]
    recording = rerun.RecordingStream("posecache")
    recording.log("world", rerun.ViewCoordinates.RIGHT_HAND_Y_DOWN, static=True)
    for file in dict.fromkeys(poses.files):
        of_file = np.flatnonzero(np.array(poses.files) == file)
        for frame in np.unique(poses.frames[of_file]):
            rows = of_file[(poses.frames[of_file] == frame) & poses.usable[of_file]]
            if not len(rows):
                continue
            roots = None if poses.root_mm is None else poses.root_mm[rows]
            placed = place_people(poses.joints_3d_mm[rows], poses.boxes_px[rows], roots) / 1000.0
            recording.set_time("time", duration=float(poses.time_s[rows[0]]))
            for row, joints in zip(rows, placed, strict=True):
                recording.log(
                    f"world/{file}/{poses.people[row]}",
                    rerun.LineStrips3D(
                        [joints[[joint, parent]] for joint, parent, _ in lines], colors=colours
                    ),
                )
    try:
        recording.save(str(path))
    except OSError as error:
        raise UnwritableTarget(f"{path}: cannot be written ({error}).") from error
