"""A person that faces the camera, and camera formulas written out anew (see facts in each use)."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]

# mm from the root; x to the picture's right, y down, z away from the camera. The person looks at
# the camera, so that the left side has positive x. Order of Human3.6M-17.
_STANDING_MM = np.array(
    [
        [0, 0, 0],
        [-130, 0, 0], [-140, 450, -20], [-150, 880, 10],
        [130, 0, 0], [140, 450, -30], [150, 880, 0],
        [0, -240, 10], [0, -480, 15], [0, -560, -30], [0, -675, -10],
        [150, -470, 20], [290, -230, 30], [330, -10, -40],
        [-150, -470, 25], [-280, -240, 10], [-340, -20, -60],
    ],
    dtype=np.float64,
)  # fmt: skip


def person_mm(frame: int = 0, *, distance_mm: float = 4000.0) -> Float64:
    """Joints [17, 3] of Human3.6M-17, camera frame, mm; sways and waves with the frame number."""
    joints = _STANDING_MM.copy()
    joints[12:14, 1] -= [20 * frame, 60 * frame]
    joints += [40.0 * frame, 5.0 * frame, distance_mm + 30.0 * frame]
    return joints


def pinhole_px(
    points_mm: Float64, focal: tuple[float, float], centre: tuple[float, float]
) -> Float64:
    """u = f X / Z + c."""
    return points_mm[..., :2] / points_mm[..., 2:] * focal + np.asarray(centre)


def human36m_px(points_mm: Float64, f: Float64, c: Float64, k: Float64, p: Float64) -> Float64:
    """Human3.6M's own formula: tangential factor 1, k radial (3), p tangential (2)."""
    x, y = points_mm[..., 0] / points_mm[..., 2], points_mm[..., 1] / points_mm[..., 2]
    r2 = x**2 + y**2
    rad = 1 + k[0] * r2 + k[1] * r2**2 + k[2] * r2**3
    tan = p[0] * y + p[1] * x
    u = f[0] * (x * (rad + tan) + p[1] * r2) + c[0]
    v = f[1] * (y * (rad + tan) + p[0] * r2) + c[1]
    return np.stack([u, v], axis=-1)


def picture(size: tuple[int, int], seed: int) -> NDArray[np.uint8]:
    """A smooth picture [H, W, 3] that is different for every seed and survives JPEG."""
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC), dtype=np.uint8)


def write_picture(path: Path, size: tuple[int, int], seed: int) -> None:
    """Write `picture` as JPEG or PNG, by the path's suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = cv2.imencode(path.suffix, picture(size, seed)[..., ::-1])[1]
    path.write_bytes(encoded.tobytes())
