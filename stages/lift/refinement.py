"""Predicted poses, moved to where the picture shows their joints.

Of a pose X [J, 3], relative to its root, and the root's place t, this minimises

    sum_j s_j c^2 log(1 + |P(X_j + t) - x_j|^2 / (c sigma_k)^2)   joints where they are seen
    + sum_(j, p) (|X_j - X_p| - l_j)^2 / sigma_b^2                bones as long as they should be
    + sum_j |X_j - X0_j|^2 / sigma_j^2                            poses as they were predicted

with the projection P of the camera, the keypoints x_j and their scores s_j (0..1), lengths l_j to
the parents p, and the prediction X0. sigma_j is 2 b_j where the lifter says a scale b_j
(`lifter.uncertainty`): the standard deviation of an isotropic Laplace error along each axis.
Reprojection, lengths of bones and a prior are the terms of SMPLify (Bogo et al., ECCV 2016); here
they are of joints, and what is written of them is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.lift.config import RefinementConfig
from stages.lift.intrinsics import NEAREST_MM, Intrinsics, project, project_with_jacobian
from stages.lift.least_squares import Expansion, minimise
from stages.lift.roots import (
    FEWEST_JOINTS,
    estimate_root_mm,
    extents_px,
    mean_distance_px,
    robust,
    usable_keypoints,
)

Floats = NDArray[np.float64]

LAPLACE_DEVIATION = 2.0  # along an axis, in scales b: E |e|^2 = 12 b^2 in three dimensions
_OUTLIER = 3.0  # c: deviations from which on a keypoint counts less
_TOLERANCE_MM = 1e-2
_CHUNK_FRAMES = 512  # whose Hessians are in memory together


@dataclass(frozen=True)
class Refined:
    """`n` poses, and where they are."""

    joints_mm: Floats  # [n, J, 3] relative to the root; as predicted where nothing was found
    root_mm: Floats  # [n, 3] camera frame; NaN where nothing was found
    residual_px: Floats  # [n] mean distance of seen to projected joints, by score; NaN likewise
    residual_before_px: Floats  # [n] the same of the predicted pose where it was placed first
    converged: NDArray[np.bool_]  # [n]


def refine(
    joints_mm: Floats,  # [n, J, 3] relative to the root
    keypoints_px: Floats,  # [n, J, 3] x, y of the unmirrored picture, and score
    intrinsics: Intrinsics,
    *,
    parents: Sequence[int],  # of the joints, -1: none
    lengths_mm: Floats | None = None,  # [n, J] to the parent; None: those of the prediction
    scale_mm: Floats | None = None,  # [n, J] b of each joint; None: `config.prior_sigma_mm`
    root_mm: Floats | None = None,  # [n, 3] camera frame, kept; None: found with the pose
    config: RefinementConfig | None = None,
) -> Refined:
    """Returns the poses that fit picture, bones and prediction best; its inputs are unchanged.

    Deterministic, float64. Where a root is given, it is not moved: a true one is an oracle, which
    results must say. A pose stays as it was predicted where no root is found
    (`estimate_root_mm`). `converged` says where the minimum was reached.
    """
    config = config or RefinementConfig()
    seen, scores = usable_keypoints(
        keypoints_px[..., :2], np.clip(np.nan_to_num(keypoints_px[..., 2]), 0.0, 1.0)
    )
    if root_mm is None:
        sure = scores if scale_mm is None else scores / np.maximum(scale_mm, 1e-6) ** 2
        roots = estimate_root_mm(joints_mm, seen, intrinsics, weights=sure)
        start_mm, placed = np.nan_to_num(roots.root_mm), np.isfinite(roots.root_mm[:, 0])
    else:
        start_mm = np.asarray(root_mm, dtype=np.float64)
        placed = (scores > 0).sum(axis=1) >= FEWEST_JOINTS
        placed &= (joints_mm[..., 2] + start_mm[:, None, 2] > NEAREST_MM).all(axis=1)
    if lengths_mm is None:
        lengths_mm = bone_lengths_mm(joints_mm, parents)
    prior_sigma_mm = np.full(joints_mm.shape[:2], config.prior_sigma_mm)
    if scale_mm is not None:
        prior_sigma_mm = np.maximum(LAPLACE_DEVIATION * scale_mm, 1e-3)
    found_mm, found_root_mm = np.array(joints_mm, dtype=np.float64), start_mm.copy()
    converged = np.zeros(len(joints_mm), dtype=bool)
    for first in range(0, len(joints_mm), _CHUNK_FRAMES):
        frames = first + np.flatnonzero(placed[first : first + _CHUNK_FRAMES])
        if not len(frames):
            continue
        terms = Terms(
            predicted_mm=joints_mm[frames],
            keypoints_px=seen[frames],
            scores=scores[frames],
            intrinsics=intrinsics[frames],
            parents=tuple(parents),
            lengths_mm=lengths_mm[frames],
            prior_sigma_mm=prior_sigma_mm[frames],
            root_mm=start_mm[frames],
            config=config,
        )
        unknowns, converged[frames] = minimise(
            terms.start(free_root=root_mm is None),
            terms.expand,
            max_steps=config.max_steps,
            tolerance=_TOLERANCE_MM,
        )
        found_mm[frames], found_root_mm[frames] = terms.split(unknowns)

    def residual(joints: Floats, roots: Floats) -> Floats:
        pixels = project(joints + roots[:, None], intrinsics)
        return np.where(placed, mean_distance_px(pixels, seen, scores), np.nan)

    return Refined(
        joints_mm=found_mm,
        root_mm=np.where(placed[:, None], found_root_mm, np.nan),
        residual_px=residual(found_mm, found_root_mm),
        residual_before_px=residual(joints_mm, start_mm),
        converged=converged,
    )


def bone_lengths_mm(joints_mm: Floats, parents: Sequence[int]) -> Floats:  # [n, J]
    """Returns the distance of every joint to its parent, 0 of those without one."""
    children = [joint for joint, parent in enumerate(parents) if parent >= 0]
    lengths = np.zeros(joints_mm.shape[:2])
    ends = joints_mm[:, [parents[joint] for joint in children]]
    lengths[:, children] = np.linalg.norm(joints_mm[:, children] - ends, axis=-1)
    return lengths


def median_lengths_mm(
    joints_mm: Floats,  # [n, J, 3]
    clips: NDArray[np.integer],  # [n] codes
    parents: Sequence[int],
) -> Floats:  # [n, J]
    """Returns the distance to its parent that every joint has in the median of its clip."""
    lengths = bone_lengths_mm(joints_mm, parents)
    for clip in np.unique(clips):
        lengths[clips == clip] = np.median(lengths[clips == clip], axis=0)
    return lengths


@dataclass(frozen=True)
class Terms:
    """What is minimised, of `m` frames. Unknowns are X, joint by joint, and t unless it is kept."""

    predicted_mm: Floats  # [m, J, 3]
    keypoints_px: Floats  # [m, J, 2]
    scores: Floats  # [m, J]
    intrinsics: Intrinsics
    parents: tuple[int, ...]
    lengths_mm: Floats  # [m, J]
    prior_sigma_mm: Floats  # [m, J]
    root_mm: Floats  # [m, 3]
    config: RefinementConfig

    def start(self, *, free_root: bool) -> Floats:  # [m, 3 J (+ 3)]
        """Returns the prediction where it was placed."""
        flat = self.predicted_mm.reshape(len(self.predicted_mm), -1)
        return np.concatenate([flat, self.root_mm], axis=1) if free_root else flat.copy()

    def split(
        self, unknowns: Floats, frames: NDArray[np.intp] | slice = slice(None)
    ) -> tuple[Floats, Floats]:
        """Returns X [m, J, 3] and t [m, 3]."""
        num_joints = self.predicted_mm.shape[1]
        joints, root = unknowns[:, : 3 * num_joints], unknowns[:, 3 * num_joints :]
        return joints.reshape(len(joints), -1, 3), root if root.size else self.root_mm[frames]

    def expand(self, unknowns: Floats, frames: NDArray[np.intp]) -> Expansion:
        """Returns the terms around the unknowns of some of the frames."""
        joints_mm, root_mm = self.split(unknowns, frames)
        count, num_joints, _ = joints_mm.shape
        gradient = np.zeros((count, num_joints + 1, 3))
        hessian = np.zeros((count, num_joints + 1, 3, num_joints + 1, 3))
        cost = self._keypoints(joints_mm, root_mm, frames, gradient, hessian)
        cost = cost + self._bones(joints_mm, frames, gradient, hessian)
        cost = cost + self._prior(joints_mm, frames, gradient, hessian)
        size = unknowns.shape[1]
        return Expansion(
            cost,
            gradient.reshape(count, -1)[:, :size],
            hessian.reshape(count, 3 * num_joints + 3, -1)[:, :size, :size],
        )

    def _keypoints(
        self,
        joints_mm: Floats,
        root_mm: Floats,
        frames: NDArray[np.intp],
        gradient: Floats,
        hessian: Floats,
    ) -> Floats:
        points = joints_mm + root_mm[:, None]
        pixels, by_point = project_with_jacobian(points, self.intrinsics[frames])
        off = pixels - self.keypoints_px[frames]
        scores = self.scores[frames]
        sigma = self.config.keypoint_sigma * extents_px(self.keypoints_px[frames], scores)
        cost, pull = robust(off, scores * _OUTLIER**2, _OUTLIER * sigma)
        cost[(points[..., 2] <= NEAREST_MM).any(axis=1)] = np.inf
        slope = np.einsum("mj,mjab,mja->mjb", pull, by_point, off)
        curve = np.einsum("mj,mjab,mjac->mjbc", pull, by_point, by_point)
        gradient[:, :-1] += slope
        gradient[:, -1] += slope.sum(axis=1)
        each = np.arange(joints_mm.shape[1])
        hessian[:, each, :, each, :] += curve.transpose(1, 0, 2, 3)
        hessian[:, each, :, -1, :] += curve.transpose(1, 0, 2, 3)
        hessian[:, -1, :, each, :] += curve.transpose(1, 0, 2, 3)
        hessian[:, -1, :, -1, :] += curve.sum(axis=1)
        return cost

    def _bones(
        self, joints_mm: Floats, frames: NDArray[np.intp], gradient: Floats, hessian: Floats
    ) -> Floats:
        cost = np.zeros(len(joints_mm))
        weight = 1.0 / self.config.bone_sigma_mm**2
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                continue
            bone = joints_mm[:, joint] - joints_mm[:, parent]
            length = np.maximum(np.linalg.norm(bone, axis=-1, keepdims=True), 1e-9)
            along = bone / length
            off = length - self.lengths_mm[frames, joint, None]
            cost += weight * off[:, 0] ** 2
            curve = weight * along[:, :, None] * along[:, None, :]
            for one, sign in ((joint, 1.0), (parent, -1.0)):
                gradient[:, one] += sign * weight * off * along
                hessian[:, one, :, one, :] += curve
            hessian[:, joint, :, parent, :] -= curve
            hessian[:, parent, :, joint, :] -= curve
        return cost

    def _prior(
        self, joints_mm: Floats, frames: NDArray[np.intp], gradient: Floats, hessian: Floats
    ) -> Floats:
        weights = self.prior_sigma_mm[frames] ** -2.0
        off = joints_mm - self.predicted_mm[frames]
        gradient[:, :-1] += weights[..., None] * off
        each = np.arange(joints_mm.shape[1])
        hessian[:, each, :, each, :] += weights.T[..., None, None] * np.eye(3)
        cost: Floats = (weights[..., None] * off**2).sum(axis=(1, 2))
        return cost
