"""Where in front of its camera a pose is, from where its joints are seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lift.intrinsics import NEAREST_MM, Intrinsics, flat_points, project_with_jacobian
from stages.lift.least_squares import Expansion, minimise

Floats = NDArray[np.float64]

FEWEST_JOINTS = 3
_OUTLIER = 0.05
"""Distance, in diagonals of the person in the picture, from which on a joint counts less: an error
of about 100 mm across the view."""
_MAX_STEPS, _TOLERANCE_MM = 100, 1e-3


@dataclass(frozen=True)
class Roots:
    """Places of `n` poses."""

    root_mm: Floats  # [n, 3] camera frame; NaN where none was found
    residual_px: Floats  # [n] mean distance of seen to projected joints, by weight; NaN likewise
    converged: NDArray[np.bool_]  # [n] whether one was found, and is a minimum


def estimate_root_mm(
    joints_mm: Floats,  # [n, J, 3] relative to the root
    keypoints_px: Floats,  # [n, J, 2] of the unmirrored picture
    intrinsics: Intrinsics,
    *,
    weights: Floats | None = None,  # [n, J] of joints, e.g. scores; None: all alike
) -> Roots:
    """Returns where the roots are, so that the joints are seen where the keypoints are.

    The start is the linear least-squares solution of x (Z + t_z) = X + t_x and of the same for y
    over the joints, (x, y) being their undistorted keypoints; then the weighted and robust
    (Cauchy) distances in the picture are minimised over t. Keypoints that are not finite, and
    weights that are not positive, count for nothing. Nothing is found if fewer than `FEWEST_JOINTS`
    joints count, or if the pose would reach behind the camera.
    """
    seen, weights = usable_keypoints(keypoints_px, weights)
    start = _linear_start(joints_mm, flat_points(seen, intrinsics), weights)
    sigma = _OUTLIER * extents_px(seen, weights)
    enough = (weights > 0).sum(axis=1) >= FEWEST_JOINTS

    def expand(roots_mm: Floats, frames: NDArray[np.intp]) -> Expansion:
        points = joints_mm[frames] + roots_mm[:, None]
        pixels, by_point = project_with_jacobian(points, intrinsics[frames])
        off = pixels - seen[frames]
        cost, pull = robust(off, weights[frames], sigma[frames])
        cost[(points[..., 2] <= NEAREST_MM).any(axis=1)] = np.inf
        return Expansion(
            cost,
            np.einsum("mj,mjab,mja->mb", pull, by_point, off),
            np.einsum("mj,mjab,mjac->mbc", pull, by_point, by_point),
        )

    root_mm, at_rest = minimise(start, expand, max_steps=_MAX_STEPS, tolerance=_TOLERANCE_MM)
    points = joints_mm + root_mm[:, None]
    found = enough & (points[..., 2] > NEAREST_MM).all(axis=1)
    pixels, _ = project_with_jacobian(points, intrinsics)
    residual = mean_distance_px(pixels, seen, weights)
    return Roots(
        np.where(found[:, None], root_mm, np.nan),
        np.where(found, residual, np.nan),
        found & at_rest,
    )


def usable_keypoints(keypoints_px: Floats, weights: Floats | None) -> tuple[Floats, Floats]:
    """Returns finite keypoints [n, J, 2] and weights [n, J], 0 where a keypoint was not finite."""
    keypoints_px = np.asarray(keypoints_px, dtype=np.float64)
    given = np.ones(keypoints_px.shape[:2]) if weights is None else np.asarray(weights, float)
    counts = np.isfinite(keypoints_px).all(axis=-1) & np.isfinite(given) & (given > 0)
    return np.where(counts[..., None], keypoints_px, 0.0), np.where(counts, given, 0.0)


def extents_px(keypoints_px: Floats, weights: Floats) -> Floats:  # [n]
    """Returns the diagonal of the box around the joints of positive weight, at least 1 px."""
    counts = (weights > 0)[..., None]
    low = np.where(counts, keypoints_px, np.inf).min(axis=1)
    high = np.where(counts, keypoints_px, -np.inf).max(axis=1)
    sides = np.where(high >= low, high - low, 0.0)
    diagonals: Floats = np.maximum(np.linalg.norm(sides, axis=-1), 1.0)
    return diagonals


def robust(
    off_px: Floats,  # [m, J, 2]
    weights: Floats,  # [m, J]
    sigma_px: Floats,  # [m]
) -> tuple[Floats, Floats]:
    """Returns sum_j w_j log(1 + |off_j|^2 / sigma^2) [m], and the pull on each joint [m, J].

    Half of the gradient by off_j is the pull times off_j.
    """
    ratio = (off_px**2).sum(axis=-1) / sigma_px[:, None] ** 2
    return (weights * np.log1p(ratio)).sum(axis=1), weights / (1 + ratio) / sigma_px[:, None] ** 2


def mean_distance_px(pixels: Floats, keypoints_px: Floats, weights: Floats) -> Floats:  # [n]
    """Returns the mean distance by weight; NaN without any."""
    distances = np.linalg.norm(pixels - keypoints_px, axis=-1)
    total = weights.sum(axis=1)
    mean: Floats = (distances * weights).sum(axis=1) / np.where(total > 0, total, np.nan)
    return mean


def _linear_start(joints_mm: Floats, flat: Floats, weights: Floats) -> Floats:  # [n, 3]
    """Returns t of the least squares of t_x - x t_z = x Z - X and t_y - y t_z = y Z - Y."""
    system = np.zeros((*flat.shape, 3))  # [n, J, 2, 3]
    system[..., 0, 0] = system[..., 1, 1] = 1.0
    system[..., 2] = -flat
    wanted = flat * joints_mm[..., 2:] - joints_mm[..., :2]
    normal = np.einsum("nj,njab,njac->nbc", weights, system, system)
    right = np.einsum("nj,njab,nja->nb", weights, system, wanted)
    # A ridge far below any real pose, so that one without joints has some solution, too.
    normal += 1e-12 * np.eye(3)
    start: Floats = np.linalg.solve(normal, right[..., None])[..., 0]
    return start
