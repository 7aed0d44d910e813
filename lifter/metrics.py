"""Errors of predicted poses, as the literature defines them: float64, millimetres, numpy.

Poses are [N, J, 3], relative to the root joint unless said otherwise. All joints count unless said
otherwise, the root included. `p_` is "Protocol 2" or PA-MPJPE.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifter.errors import MetricError

Floats = NDArray[np.float64]

PCK_THRESHOLD_MM = 150.0
MPI_INF_3DHP_JOINTS = tuple(range(14))
"""Joints of MPI17 that its PCK and AUC count: head_top, neck, shoulders, elbows, wrists, hips,
knees and ankles; not root, spine and head. Its MPJPE counts all 17."""
AUC_THRESHOLDS_MM: tuple[float, ...] = tuple(float(limit) for limit in range(0, 151, 5))


def joint_errors_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> Floats:  # [N, J]
    """Returns the distance of every joint to its true position."""
    predicted, true = _poses(predicted_mm, true_mm)
    distances: Floats = np.linalg.norm(predicted - true, axis=-1)
    return distances


def mpjpe_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> float:
    """Returns the mean distance over joints and poses."""
    return float(joint_errors_mm(predicted_mm, true_mm).mean())


def p_mpjpe_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> float:
    """Returns the MPJPE after the best rotation, translation and scale of every pose."""
    return float(p_mpjpe_per_frame_mm(predicted_mm, true_mm).mean())


def n_mpjpe_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> float:
    """Returns the MPJPE after the best scale of every pose."""
    return float(n_mpjpe_per_frame_mm(predicted_mm, true_mm).mean())


def mpjve_mm(predicted_clips_mm: Iterable[ArrayLike], true_clips_mm: Iterable[ArrayLike]) -> float:
    """Returns the mean error of the steps from frame to frame, in mm per frame.

    The arguments are clips [F, J, 3]; no step crosses from one clip into the next. Clips of one
    frame have no step. NaN if there is none at all.
    """
    steps = []
    for predicted_mm, true_mm in zip(predicted_clips_mm, true_clips_mm, strict=True):
        predicted, true = _poses(predicted_mm, true_mm)
        steps.append(np.linalg.norm(np.diff(predicted - true, axis=0), axis=-1))
    joined = np.concatenate(steps) if steps else np.empty((0, 0))
    return float(joined.mean()) if joined.size else float("nan")


def pck(
    predicted_mm: ArrayLike,
    true_mm: ArrayLike,
    *,
    threshold_mm: float = PCK_THRESHOLD_MM,
    joints: Sequence[int] | None = None,
) -> float:
    """Returns the fraction (0..1) of joints nearer than the threshold (strictly).

    All joints count, or those at the positions `joints`.
    """
    errors = _chosen(joint_errors_mm(predicted_mm, true_mm), joints)
    return float((errors < threshold_mm).mean())


def auc(
    predicted_mm: ArrayLike, true_mm: ArrayLike, *, joints: Sequence[int] | None = None
) -> float:
    """Returns the mean of the PCK (0..1) at 0, 5, ..., 150 mm, as for MPI-INF-3DHP.

    All joints count, or those at the positions `joints`.
    """
    errors = _chosen(joint_errors_mm(predicted_mm, true_mm), joints)
    return float(np.mean([(errors < limit).mean() for limit in AUC_THRESHOLDS_MM]))


def n_mpjpe_per_frame_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> Floats:  # [N]
    """Returns per pose the mean distance after the scale that fits best in least squares."""
    predicted, true = _poses(predicted_mm, true_mm)
    power = (predicted**2).sum(axis=(1, 2), keepdims=True)
    scale = (predicted * true).sum(axis=(1, 2), keepdims=True) / np.where(power > 0, power, 1.0)
    distances: Floats = np.linalg.norm(scale * predicted - true, axis=-1).mean(axis=-1)
    return distances


def p_mpjpe_per_frame_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> Floats:  # [N]
    """Returns per pose the mean distance after `align_mm`."""
    predicted, true = _poses(predicted_mm, true_mm)
    distances: Floats = np.linalg.norm(align_mm(predicted, true) - true, axis=-1).mean(axis=-1)
    return distances


def align_mm(predicted_mm: ArrayLike, true_mm: ArrayLike) -> Floats:  # [N, J, 3]
    """Returns the predicted poses after the rotation, translation and scale that fit best.

    The fit is least squares per pose (Procrustes) without reflections. A pose whose joints all
    coincide is moved to the centre of the true one.
    """
    predicted, true = _poses(predicted_mm, true_mm)
    centre = true.mean(axis=1, keepdims=True)
    source = predicted - predicted.mean(axis=1, keepdims=True)
    target = true - centre
    left, strengths, right = np.linalg.svd(source.transpose(0, 2, 1) @ target)
    # The weakest direction is turned round where the best orthogonal matrix is a reflection.
    signs = np.ones_like(strengths)
    signs[:, -1] = np.where(np.linalg.det(left @ right) < 0, -1.0, 1.0)
    rotation = (left * signs[:, None, :]) @ right
    power = (source**2).sum(axis=(1, 2))
    scale = (strengths * signs).sum(axis=-1) / np.where(power > 0, power, 1.0)
    aligned: Floats = scale[:, None, None] * (source @ rotation) + centre
    return aligned


def _chosen(errors_mm: Floats, joints: Sequence[int] | None) -> Floats:
    return errors_mm if joints is None else errors_mm[:, list(joints)]


def _poses(predicted: ArrayLike, true: ArrayLike) -> tuple[Floats, Floats]:
    arrays = tuple(np.asarray(poses, dtype=np.float64) for poses in (predicted, true))
    shapes: tuple[Any, ...] = tuple(array.shape for array in arrays)
    if shapes[0] != shapes[1] or len(shapes[0]) != 3 or shapes[0][-1] != 3:
        raise MetricError(
            f"Predicted and true poses must both be [N, J, 3], got {shapes[0]} and {shapes[1]}."
        )
    if not all(np.isfinite(array).all() for array in arrays):
        raise MetricError(
            "Poses must be finite: a mean over NaN or infinite joints says nothing. "
            "Leave out the rows without labels, and look for NaN in the predictions."
        )
    return arrays[0], arrays[1]
