"""Cameras: world to camera, and camera to picture with the distortion each data set really uses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import PlanError

Float64 = NDArray[np.float64]
DistortionModel = Literal["human36m", "opencv", "none"]


@dataclass(frozen=True, eq=False)
class Camera:
    """A calibrated, unmoving camera: X_cam = R X_world + t.

    Args:
        name: as the data set calls it.
        K: `[3, 3]` intrinsics, px.
        R: `[3, 3]` world to camera.
        t_mm: `[3]` mm.
        distortion: (k1, k2, p1, p2, k3) in OpenCV's order. Human3.6M's `p = (p0, p1)` are p1, p2.
        distortion_model: `opencv` has tangential factor 2, `human36m` factor 1 (its published
            labels follow factor 1 exactly, OpenCV's formula is off by up to 0.2 px).
        fps: pictures per second, None if unknown.
    """

    name: str
    K: Float64
    R: Float64
    t_mm: Float64
    distortion: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0, 0.0)
    distortion_model: DistortionModel = "none"
    fps: float | None = None

    def __post_init__(self) -> None:
        for field, shape in (("K", (3, 3)), ("R", (3, 3)), ("t_mm", (3,))):
            value = np.array(getattr(self, field), dtype=np.float64)
            if value.shape != shape or not np.isfinite(value).all():
                raise PlanError(
                    f"camera {self.name!r}: {field} must be {shape} finite numbers, "
                    f"got shape {value.shape}"
                )
            value.flags.writeable = False
            object.__setattr__(self, field, value)
        if len(self.distortion) != 5:
            raise PlanError(
                f"camera {self.name!r}: distortion is (k1, k2, p1, p2, k3), "
                f"got {len(self.distortion)} numbers"
            )
        object.__setattr__(self, "distortion", tuple(float(k) for k in self.distortion))
        if self.distortion_model not in get_args(DistortionModel):
            raise PlanError(
                f"camera {self.name!r}: unknown distortion model {self.distortion_model!r}, "
                f"known are {', '.join(get_args(DistortionModel))}"
            )


def world_to_camera(points_world_mm: ArrayLike, camera: Camera) -> Float64:
    """Points `[..., 3]` in mm of the camera's frame."""
    return np.asarray(points_world_mm, dtype=np.float64) @ camera.R.T + camera.t_mm


def project(points_cam_mm: ArrayLike, camera: Camera) -> Float64:
    """Image px `[..., 2]` of points `[..., 3]` in the camera's frame; NaN at or behind the camera.

    With x = X/Z, y = Y/Z, r2 = x^2 + y^2, rad = 1 + k1 r2 + k2 r2^2 + k3 r2^3 and the tangential
    factor a (2 for `opencv`, 1 for `human36m`), tan = a (p1 y + p2 x):
    u = fx (x (rad + tan) + p2 r2) + cx,  v = fy (y (rad + tan) + p1 r2) + cy.
    """
    points = np.asarray(points_cam_mm, dtype=np.float64)
    depth = np.where(points[..., 2:] > 0, points[..., 2:], np.nan)
    x, y = np.moveaxis(points[..., :2] / depth, -1, 0)
    if camera.distortion_model != "none":
        k1, k2, p1, p2, k3 = camera.distortion
        factor = 2.0 if camera.distortion_model == "opencv" else 1.0
        r2 = x * x + y * y
        gain = 1 + r2 * (k1 + r2 * (k2 + r2 * k3)) + factor * (p1 * y + p2 * x)
        x, y = x * gain + p2 * r2, y * gain + p1 * r2
    normalised = np.stack([x, y, np.ones_like(x)], axis=-1)
    return normalised @ camera.K[:2].T
