"""From the camera's frame to the picture and back, of many frames at once, with derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cache import Camera
from stages.lift.errors import LiftError

Floats = NDArray[np.float64]

NEAREST_MM = 1.0
"""Joints at this depth or behind have no place in a picture."""
_NEWTON_STEPS = 10


@dataclass(frozen=True, eq=False)
class Intrinsics:
    """What of their cameras decides where `n` frames show a point of the camera's frame."""

    K: Floats  # [n, 3, 3] px
    distortion: Floats  # [n, 5] (k1, k2, p1, p2, k3); zeros: none
    tangential: Floats  # [n] factor of the tangential part: 2 in OpenCV's formula, 1 in Human3.6M's

    def __len__(self) -> int:
        return len(self.K)

    def __getitem__(self, frames: NDArray[np.integer | np.bool_] | slice) -> Intrinsics:
        """Returns those of some frames."""
        return Intrinsics(self.K[frames], self.distortion[frames], self.tangential[frames])

    @classmethod
    def of_cameras(cls, cameras: Sequence[Camera], codes: NDArray[np.integer]) -> Self:
        """Returns those of frames [n] whose codes count these cameras.

        Raises `LiftError` if there are no cameras.
        """
        if not cameras:
            raise LiftError(
                "The store has no calibrated cameras, so poses cannot be placed in front of one."
                " Set evaluate.refine=none, or use a store of a dataset with calibration."
            )
        bent = [camera.distortion_model != "none" for camera in cameras]
        distortion = [
            camera.distortion if has else (0.0,) * 5
            for camera, has in zip(cameras, bent, strict=True)
        ]
        tangential = [2.0 if camera.distortion_model == "opencv" else 1.0 for camera in cameras]
        return cls(
            np.stack([camera.K for camera in cameras])[codes],
            np.array(distortion)[codes],
            np.array(tangential)[codes],
        )

    @classmethod
    def pinhole(
        cls, focal_px: float, principal_px: tuple[float, float], *, num_frames: int
    ) -> Self:
        """Returns those of a camera without distortion and with square pixels."""
        x, y = principal_px
        matrix = np.array([[focal_px, 0.0, x], [0.0, focal_px, y], [0.0, 0.0, 1.0]])
        return cls(
            np.tile(matrix, (num_frames, 1, 1)), np.zeros((num_frames, 5)), np.ones(num_frames)
        )


def project(points_mm: Floats, intrinsics: Intrinsics) -> Floats:
    """Returns the image px [n, J, 2] of points [n, J, 3] of the camera's frame.

    The formula is that of `cache.project`. Points nearer than `NEAREST_MM` are moved there.
    """
    return project_with_jacobian(points_mm, intrinsics)[0]


def project_with_jacobian(points_mm: Floats, intrinsics: Intrinsics) -> tuple[Floats, Floats]:
    """Returns `project` [n, J, 2] and its derivative [n, J, 2, 3], px per mm."""
    depth = np.maximum(points_mm[..., 2], NEAREST_MM)
    flat = points_mm[..., :2] / depth[..., None]
    bent, bending = _distort(flat, intrinsics)  # [n, J, 2], [n, J, 2, 2]
    flattening = np.zeros((*depth.shape, 2, 3))
    flattening[..., 0, 0] = flattening[..., 1, 1] = 1 / depth
    flattening[..., 2] = -flat / depth[..., None]
    focal = intrinsics.K[:, None, :2, :2]
    pixels = (focal @ bent[..., None])[..., 0] + intrinsics.K[:, None, :2, 2]
    return pixels, focal @ bending @ flattening


def flat_points(points_px: Floats, intrinsics: Intrinsics) -> Floats:
    """Returns (X / Z, Y / Z) [n, J, 2] of what image px [n, J, 2] show: distortion is undone."""
    focal = np.linalg.inv(intrinsics.K[:, :2, :2])[:, None]
    bent = (focal @ (points_px - intrinsics.K[:, None, :2, 2])[..., None])[..., 0]
    if not intrinsics.distortion.any():
        return bent
    flat = bent.copy()
    for _ in range(_NEWTON_STEPS):
        found, bending = _distort(flat, intrinsics)
        flat = flat - np.linalg.solve(bending, (found - bent)[..., None])[..., 0]
    return flat


def _distort(flat: Floats, intrinsics: Intrinsics) -> tuple[Floats, Floats]:
    """Returns distorted points [n, J, 2] and their derivative [n, J, 2, 2]."""
    x, y = flat[..., 0], flat[..., 1]
    k1, k2, p1, p2, k3 = intrinsics.distortion.T[..., None]  # [n, 1] each
    factor = intrinsics.tangential[:, None]
    r2 = x * x + y * y
    gain = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + factor * (p1 * y + p2 * x)
    radial = k1 + r2 * (2 * k2 + 3 * r2 * k3)  # of 1 by r2
    gain_x, gain_y = 2 * x * radial + factor * p2, 2 * y * radial + factor * p1
    bent = np.stack([x * gain + p2 * r2, y * gain + p1 * r2], axis=-1)
    derivative = np.stack(
        [
            np.stack([gain + x * gain_x + 2 * p2 * x, x * gain_y + 2 * p2 * y], axis=-1),
            np.stack([y * gain_x + 2 * p1 * x, gain + y * gain_y + 2 * p1 * y], axis=-1),
        ],
        axis=-2,
    )
    return bent, derivative
