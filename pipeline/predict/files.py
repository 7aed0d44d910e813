"""Predictions as files: npz for programs, json for everybody else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import FrameStatus
from pipeline.errors import PipelineError
from pipeline.predict.poses import Poses
from pipeline.runs.directories import write_bytes, write_json

POSES_FILE = "poses.npz"
STATUS_NAMES = {int(status): status.name.lower() for status in FrameStatus}


def write_npz(poses: Poses, path: Path) -> None:
    """Write arrays [n, ...] and `about`, a JSON text with units, joints, notes and origin.

    Equal poses give equal arrays; raises UnwritableTarget.
    """
    arrays: dict[str, NDArray[Any]] = {
        "source": np.array(poses.files),
        "person": np.array(poses.people),
        "frame": poses.frames,
        "time_s": poses.time_s,
        "status": poses.status,
        "image_size": poses.image_size,
        "boxes_px": poses.boxes_px.astype(np.float32),
        "joints_3d_mm": poses.joints_3d_mm.astype(np.float32),
        "keypoints_px": poses.keypoints_px.astype(np.float32),
        "detected_px": poses.detected_px.astype(np.float32),
    }
    if poses.root_mm is not None:
        arrays["root_mm"] = poses.root_mm.astype(np.float32)
    if poses.spread_mm is not None:
        arrays["spread_mm"] = poses.spread_mm.astype(np.float32)
    about = {**poses.about, "status_names": STATUS_NAMES}
    buffer = io.BytesIO()
    arrays["about"] = np.array(json.dumps(about))
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    write_bytes(path, buffer.getvalue())


def write_pose_json(poses: Poses, path: Path) -> None:
    """Write the same by person and frame, numbers rounded to 0.01; raises UnwritableTarget."""
    people = []
    for clip in np.unique(poses.clips):
        rows = np.flatnonzero(poses.clips == clip)
        first = int(rows[0])
        people.append(
            {
                "source": poses.files[first],
                "person": poses.people[first],
                "frames": [_frame(poses, int(row)) for row in rows],
            }
        )
    write_json(path, {"about": {**poses.about, "status_names": STATUS_NAMES}, "people": people})


def read_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of a file of `write_npz`, and its `about` as a mapping.

    Raises:
        PipelineError: it is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return {**arrays, "about": json.loads(str(arrays["about"]))}
    except (OSError, ValueError, KeyError) as error:
        raise PipelineError(f"{path}: is no file of predicted poses ({error}).") from error


def _frame(poses: Poses, row: int) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "frame": int(poses.frames[row]),
        "time_s": round(float(poses.time_s[row]), 4),
        "status": STATUS_NAMES[int(poses.status[row])],
    }
    if poses.status[row] != FrameStatus.OK:
        return entry
    entry["box_px"] = _rounded(poses.boxes_px[row])
    entry["joints_3d_mm"] = _rounded(poses.joints_3d_mm[row])
    entry["keypoints_px"] = _rounded(poses.keypoints_px[row])
    entry["detected_px"] = _rounded(poses.detected_px[row])
    if poses.root_mm is not None:
        found = np.isfinite(poses.root_mm[row]).all()
        entry["root_mm"] = _rounded(poses.root_mm[row]) if found else None
    if poses.spread_mm is not None:
        entry["spread_mm"] = _rounded(poses.spread_mm[row])
    return entry


def _rounded(values: NDArray[np.float64]) -> Any:
    return np.round(values.astype(np.float64), 2).tolist()
