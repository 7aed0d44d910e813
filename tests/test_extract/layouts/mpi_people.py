"""People and cameras in MPI-INF-3DHP's terms, with formulas written out anew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.test_extract.layouts.people import Float64, person_mm

# Studio camera 8, and the camera of TS5 and TS6 with OpenCV's (k1, k2, p1, p2, k3).
STUDIO = (1500.172, 1500.837, 1017.387, 1043.032)
OUTDOORS = (1683.98345952, 1672.59370772, 939.85754016, 560.140743168)
OUTDOORS_DISTORTION = (-0.276859611, 0.131125256, -0.000360494, -0.001149441, -0.049318332)

JOINTS_28 = (
    "spine3", "spine4", "spine2", "spine", "pelvis", "neck", "head", "head_top", "left_clavicle",
    "left_shoulder", "left_elbow", "left_wrist", "left_hand", "right_clavicle", "right_shoulder",
    "right_elbow", "right_wrist", "right_hand", "left_hip", "left_knee", "left_ankle", "left_foot",
    "left_toe", "right_hip", "right_knee", "right_ankle", "right_foot", "right_toe",
)  # fmt: skip
JOINTS_17 = (
    "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
    "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee",
    "left_ankle", "pelvis", "spine", "head",
)  # fmt: skip
_HUMAN36M_17 = (
    "pelvis", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "spine", "neck", "head", "head_top", "left_shoulder", "left_elbow", "left_wrist",
    "right_shoulder", "right_elbow", "right_wrist",
)  # fmt: skip


def named_joints(frame: int) -> dict[str, Float64]:
    """Camera-frame mm of every one of the 28 joints, no two in one place."""
    joints = dict(zip(_HUMAN36M_17, person_mm(frame), strict=True))
    for number, name in enumerate(JOINTS_28):
        side = {"l": 40.0, "r": -40.0}.get(name[0], 0.0) if "_" in name else 0.0
        joints.setdefault(name, joints["spine"] + [side + number, 7.0 * number, 3.0 * number])
    return joints


def mpi_person_mm(frame: int, names: tuple[str, ...] = JOINTS_17) -> Float64:
    """Joints [J, 3] in the order of `names`."""
    joints = named_joints(frame)
    return np.array([joints[name] for name in names])


def scaled_to_universal(joints_mm: Float64) -> Float64:
    """A person made 10 percent taller about its pelvis, which moves every joint's projection."""
    pelvis = joints_mm[..., -3:-2, :] if joints_mm.shape[-2] == 17 else joints_mm[..., 4:5, :]
    scaled: Float64 = pelvis + 1.1 * (joints_mm - pelvis)
    return scaled


def opencv_px(points_mm: Float64, distortion: tuple[float, ...], k: tuple[float, ...]) -> Float64:
    """OpenCV's documented model; `k` is fx, fy, cx, cy."""
    k1, k2, p1, p2, k3 = distortion
    x, y = points_mm[..., 0] / points_mm[..., 2], points_mm[..., 1] / points_mm[..., 2]
    r2 = x**2 + y**2
    radial = 1 + k1 * r2 + k2 * r2**2 + k3 * r2**3
    xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x**2)
    yd = y * radial + p1 * (r2 + 2 * y**2) + 2 * p2 * x * y
    return np.stack([k[0] * xd + k[2], k[1] * yd + k[3]], axis=-1)


def camera_pose(number: int) -> tuple[Float64, Float64]:
    """World-to-camera rotation [3, 3] and translation [3] mm, different for every number."""
    turn, tilt = 0.1 * number, 0.15
    about_y = [[np.cos(turn), 0, np.sin(turn)], [0, 1, 0], [-np.sin(turn), 0, np.cos(turn)]]
    about_x = [[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]]
    # The world's y points up; without the tilt, rotations would be their own inverses.
    rotation = np.array(about_y) @ np.array(about_x) @ np.diag([1, -1, -1])
    return rotation, np.array([100.0 * number, -50.0, 3000.0 + 10 * number])


def intrinsics(number: int) -> tuple[float, float, float, float]:
    """fx, fy, cx, cy of a training camera, different for every number."""
    return 1490.0 + number, 1495.0 + number, 1000.0 + 5 * number, 1030.0 - 3 * number


def flat(rows: NDArray[np.float64]) -> Float64:
    """[n, J, D] as the annotation files' rows x1, y1, (z1), x2..."""
    return rows.reshape(len(rows), -1)
