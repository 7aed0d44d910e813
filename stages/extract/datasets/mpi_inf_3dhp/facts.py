"""What MPI-INF-3DHP's annotation files do not say: joints, lengths, rates, cameras, activities."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from cache.cameras import Camera

MPI17_OF_28 = (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)
"""Positions, from 0, of MPI17's joints in the 28 of the training annotations."""

SEQUENCES: Mapping[tuple[str, str], tuple[int, float]] = MappingProxyType(
    {
        ("S1", "Seq1"): (6416, 25.0), ("S1", "Seq2"): (12430, 50.0),
        ("S2", "Seq1"): (6502, 25.0), ("S2", "Seq2"): (6081, 25.0),
        ("S3", "Seq1"): (12488, 50.0), ("S3", "Seq2"): (12283, 50.0),
        ("S4", "Seq1"): (6171, 25.0), ("S4", "Seq2"): (6675, 25.0),
        ("S5", "Seq1"): (12820, 50.0), ("S5", "Seq2"): (12312, 50.0),
        ("S6", "Seq1"): (6188, 25.0), ("S6", "Seq2"): (6145, 25.0),
        ("S7", "Seq1"): (6239, 25.0), ("S7", "Seq2"): (6320, 25.0),
        ("S8", "Seq1"): (6468, 25.0), ("S8", "Seq2"): (6054, 25.0),
    }
)  # fmt: skip
"""Frames that have both labels and pictures, and pictures per second; later rows have none."""

CHEST_HIGH_CAMERAS = (0, 1, 2, 4, 5, 6, 7, 8)
"""Cameras of the studies since VNect; 3, 9 and 10 see little, 11 to 13 hang under the ceiling."""

TRAIN_SUBJECTS = tuple(f"S{number}" for number in range(1, 9))
TEST_SUBJECTS = tuple(f"TS{number}" for number in range(1, 7))
_OUTDOORS = ("TS5", "TS6")

ACTIVITIES: Mapping[int, str] = MappingProxyType(
    {
        1: "StandingWalking",
        2: "Exercising",
        3: "Sitting",
        4: "ReachingCrouching",
        5: "OnTheFloor",
        6: "Sports",
        7: "Miscellaneous",
    }
)
"""Numbers in the test set's `activity_annotation`."""

_STUDIO_INTRINSICS: Mapping[int, tuple[float, float, float, float]] = MappingProxyType(
    {
        0: (1497.693, 1497.103, 1024.704, 1051.394),
        1: (1495.217, 1495.520, 1030.519, 1052.626),
        2: (1495.587, 1497.828, 983.8873, 987.5902),
        4: (1490.952, 1491.108, 987.6075, 1019.069),
        5: (1500.414, 1499.971, 1012.331, 998.5009),
        6: (1498.471, 1498.800, 999.7319, 1010.251),
        7: (1498.831, 1499.674, 987.2716, 976.8773),
        8: (1500.172, 1500.837, 1017.387, 1043.032),
    }
)
"""fx, fy, cx, cy px of the studio's cameras in pictures of 2048 x 2048, by camera number."""

_OUTDOOR_INTRINSICS = (1683.98345952, 1672.59370772, 939.85754016, 560.140743168)
_OUTDOOR_DISTORTION = (-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332)
_TEST_STUDIO_CAMERA = 8


def clip_name(subject: str, sequence: str, camera: int) -> str:
    """Return the name of a training clip and of its camera, `S1.Seq1.Cam0`."""
    return f"{subject}.{sequence}.Cam{camera}"


def nominal_camera(name: str, camera: int, fps: float | None = None) -> Camera:
    """Return a studio camera's published intrinsics, which no sequence's own calibration equals.

    Its world is the camera's frame. Raises KeyError for another number than those of
    `CHEST_HIGH_CAMERAS`.
    """
    return intrinsics_only(name, *_STUDIO_INTRINSICS[camera], fps=fps)


def nominal_test_camera(subject: str, *, distorted: bool = True) -> Camera:
    """Return the camera of a test sequence: studio camera 8, or the one of TS5 and TS6."""
    if subject not in _OUTDOORS:
        return nominal_camera(subject, _TEST_STUDIO_CAMERA)
    distortion = _OUTDOOR_DISTORTION if distorted else None
    return intrinsics_only(subject, *_OUTDOOR_INTRINSICS, distortion=distortion)


def intrinsics_only(
    name: str,
    fx: float,
    fy: float,
    cx: float,
    cy: float,
    *,
    distortion: tuple[float, ...] | None = None,
    fps: float | None = None,
) -> Camera:
    """Return a camera whose world is its own frame; `distortion` follows OpenCV."""
    return Camera(
        name=name,
        K=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64),
        R=np.eye(3),
        t_mm=np.zeros(3),
        distortion=distortion or (0.0,) * 5,
        distortion_model="opencv" if distortion else "none",
        fps=fps,
    )
