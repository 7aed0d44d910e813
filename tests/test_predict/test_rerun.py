"""What goes into a recording for rerun, with a stand-in for it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from cache import get_skeleton
from pipeline.errors import PipelineError
from pipeline.predict.poses import Poses
from pipeline.predict.rerun_file import require_rerun, write_rerun

SKELETON = get_skeleton("H36M17")


@dataclass
class Recording:
    name: str
    logged: list[tuple[float | None, str, Any]] = field(default_factory=list)
    time_s: float | None = None
    saved: str = ""

    def set_time(self, _line: str, *, duration: float) -> None:
        self.time_s = duration

    def log(self, path: str, content: Any, *, static: bool = False) -> None:
        self.logged.append((None if static else self.time_s, path, content))

    def save(self, path: str) -> None:
        self.saved = path


def two_people() -> Poses:
    joints = np.random.default_rng(0).normal(scale=300, size=(4, 17, 3))
    joints[3] = np.nan
    return Poses(
        skeleton=SKELETON,
        detector_skeleton=SKELETON,
        files=("a.mp4",) * 4,
        frames=np.array([0, 1, 0, 1]),
        people=("0", "0", "1", "1"),
        clips=np.array([0, 0, 1, 1]),
        time_s=np.array([0.0, 0.04, 0.0, 0.04]),
        image_size=np.full((4, 2), 100),
        boxes_px=np.array([[0.0, 0, 9, 9]] * 2 + [[50.0, 0, 59, 9]] * 2),
        status=np.array([0, 0, 0, 1], dtype=np.uint8),
        joints_3d_mm=joints,
        keypoints_px=np.zeros((4, 17, 3)),
        detected_px=np.zeros((4, 17, 3)),
        root_mm=None,
        spread_mm=None,
        about={"notes": []},
    )


def test_every_pose_is_logged_at_its_time_in_metres(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made: list[Recording] = []

    def stream(name: str) -> Recording:
        made.append(Recording(name))
        return made[-1]

    stand_in = SimpleNamespace(
        RecordingStream=stream,
        ViewCoordinates=SimpleNamespace(RIGHT_HAND_Y_DOWN="y down"),
        LineStrips3D=lambda strips, colors: (np.array(strips), colors),
    )
    monkeypatch.setitem(sys.modules, "rerun", stand_in)
    poses = two_people()
    write_rerun(poses, tmp_path / "poses.rrd")
    (recording,) = made
    assert recording.saved == str(tmp_path / "poses.rrd")
    times_and_names = [(time, path) for time, path, _ in recording.logged[1:]]
    first, second = "world/a.mp4/0", "world/a.mp4/1"
    assert times_and_names == [(0.0, first), (0.0, second), (0.04, first)]
    strips, colours = recording.logged[1][2]
    assert len(strips) == len(colours) == 16  # bones of 17 joints
    lengths = np.linalg.norm(strips[:, 0] - strips[:, 1], axis=-1)
    joints = poses.joints_3d_mm[0]
    parents = np.array(SKELETON.parents)
    expected = np.linalg.norm(joints - joints[parents], axis=-1)[parents >= 0] / 1000
    np.testing.assert_allclose(lengths, expected)


def test_without_rerun_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(PipelineError, match=r"rerun needs rerun-sdk. Install it: pip install"):
        require_rerun()
