"""People in front of known cameras, and their pictures by formulas that are not the project's."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cache import SKELETONS, Camera

Floats = NDArray[np.float64]

H36M17 = SKELETONS["H36M17"]
BENT = (-0.21, 0.24, -0.0015, 0.0012, -0.004)


def camera(model: str = "human36m", *, focal_px: float = 1145.0) -> Camera:
    K = np.array([[focal_px, 0.0, 512.5], [0.0, focal_px - 2.0, 515.3], [0.0, 0.0, 1.0]])
    return Camera("one", K, np.eye(3), np.zeros(3), BENT, model)  # type: ignore[arg-type]


def people(num_frames: int, *, seed: int = 0) -> tuple[Floats, Floats]:
    """Returns joints [n, J, 3] relative to the root and roots [n, 3]; bones are alike in all."""
    rng = np.random.default_rng(seed)
    lengths = rng.uniform(100.0, 450.0, size=H36M17.num_joints)
    joints = np.zeros((num_frames, H36M17.num_joints, 3))
    for joint, parent in enumerate(H36M17.parents):
        if parent >= 0:
            direction = rng.normal(size=(num_frames, 3))
            direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
            joints[:, joint] = joints[:, parent] + lengths[joint] * direction
    roots = rng.normal((0.0, 0.0, 5500.0), (500.0, 300.0, 600.0), size=(num_frames, 3))
    return joints, roots


def picture(points_mm: Floats, one: Camera) -> Floats:
    """Returns px [n, J, 2]: by OpenCV, or by Human3.6M's formula as its own code writes it."""
    if one.distortion_model == "opencv":
        pixels, _ = cv2.projectPoints(
            points_mm.reshape(-1, 1, 3), np.zeros(3), np.zeros(3), one.K, np.array(one.distortion)
        )
        return np.asarray(pixels, dtype=np.float64).reshape(*points_mm.shape[:-1], 2)
    k1, k2, p1, p2, k3 = one.distortion
    flat = points_mm[..., :2] / points_mm[..., 2:]
    r2 = (flat**2).sum(-1)
    radial = 1 + np.einsum("i,i...->...", [k1, k2, k3], np.array([r2, r2**2, r2**3]))
    tangential = p1 * flat[..., 1] + p2 * flat[..., 0]
    bent = flat * (radial + tangential)[..., None] + np.outer(r2, [p2, p1]).reshape(*r2.shape, 2)
    return bent * [one.K[0, 0], one.K[1, 1]] + one.K[:2, 2]


def keypoints(points_mm: Floats, one: Camera, *, noise_px: float = 0.0, seed: int = 1) -> Floats:
    """Returns x, y and a score of 1, [n, J, 3]."""
    seen = picture(points_mm, one)
    seen = seen + np.random.default_rng(seed).normal(scale=noise_px, size=seen.shape)
    return np.concatenate([seen, np.ones((*seen.shape[:-1], 1))], axis=-1)
