"""From predicted and true poses to the table of a split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifter.metrics import (
    AUC_THRESHOLDS_MM,
    MPI_INF_3DHP_JOINTS,
    joint_errors_mm,
    n_mpjpe_per_frame_mm,
    p_mpjpe_per_frame_mm,
)
from stages.lift.config import Velocity

Floats = NDArray[np.float64]

_PCK_JOINTS: Mapping[str, tuple[int, ...]] = {"MPI17": MPI_INF_3DHP_JOINTS}


@dataclass(frozen=True)
class FrameScores:
    """Per-frame parts of every metric; a group's metric is the mean over its frames."""

    joint_mm: Floats  # [n, J] distance to the true joint
    p_mpjpe_mm: Floats  # [n] after the best similarity transform
    n_mpjpe_mm: Floats  # [n] after the best scale
    velocity_mm: Floats  # [n] error of the step from the frame before; NaN for a clip's first
    correct: Floats  # [n] fraction of the joints PCK counts that are within its threshold
    auc: Floats  # [n] mean of that fraction over the AUC thresholds
    difference_mm: Floats | None  # [n, J, 3] predicted - true, if MPJVE is of concatenated frames


def score_frames(
    predicted_mm: Floats,  # [n, J, 3]
    true_mm: Floats,  # [n, J, 3]
    *,
    follows: NDArray[np.bool_],  # [n] the frame before it, of the same clip, is the sample before
    pck_threshold_mm: float,
    skeleton: str,
    velocity: Velocity = "clips",
) -> FrameScores:
    """Returns the parts of all metrics, in mm; the steps of MPJVE are mm per frame.

    PCK and AUC count all joints, of MPI17 its 14 limb joints, neck and head top.
    """
    joint_mm = joint_errors_mm(predicted_mm, true_mm)
    steps = np.linalg.norm(np.diff(predicted_mm - true_mm, axis=0), axis=-1).mean(-1)
    velocity_mm = np.full(len(joint_mm), np.nan)
    velocity_mm[1:][follows[1:]] = steps[follows[1:]]
    counted_mm = joint_mm[:, list(_PCK_JOINTS.get(skeleton, range(joint_mm.shape[1])))]
    return FrameScores(
        joint_mm=joint_mm,
        p_mpjpe_mm=p_mpjpe_per_frame_mm(predicted_mm, true_mm),
        n_mpjpe_mm=n_mpjpe_per_frame_mm(predicted_mm, true_mm),
        velocity_mm=velocity_mm,
        correct=(counted_mm < pck_threshold_mm).mean(-1),
        auc=np.mean([(counted_mm < limit).mean(-1) for limit in AUC_THRESHOLDS_MM], axis=0),
        difference_mm=predicted_mm - true_mm if velocity == "concatenated" else None,
    )


def summarise(scores: FrameScores, chosen: NDArray[Any]) -> dict[str, float | int | None]:
    """Returns the metrics of the frames `chosen` (mask or positions), each frame counting once.

    Fractions are 0..1; `mpjve_mm` is `None` where no two frames follow each other.
    """
    velocity_mm = _steps_mm(scores, chosen)
    return {
        "mpjpe_mm": float(scores.joint_mm[chosen].mean()),
        "p_mpjpe_mm": float(scores.p_mpjpe_mm[chosen].mean()),
        "n_mpjpe_mm": float(scores.n_mpjpe_mm[chosen].mean()),
        "mpjve_mm": float(velocity_mm.mean()) if len(velocity_mm) else None,
        "pck": float(scores.correct[chosen].mean()),
        "auc": float(scores.auc[chosen].mean()),
        "num_frames": len(scores.p_mpjpe_mm[chosen]),
    }


def _steps_mm(scores: FrameScores, chosen: NDArray[Any]) -> Floats:  # [steps]
    if scores.difference_mm is not None:
        # `np.diff` over whatever frames a table has, as published code does.
        joints: Floats = np.linalg.norm(np.diff(scores.difference_mm[chosen], axis=0), axis=-1)
        steps: Floats = joints.mean(-1)
        return steps
    velocity_mm: Floats = scores.velocity_mm[chosen]
    found: Floats = velocity_mm[~np.isnan(velocity_mm)]
    return found


def summarise_groups(
    scores: FrameScores, names: Sequence[str]
) -> dict[str, dict[str, float | int | None]]:
    """Returns the metrics of the frames of every name; `names` [n], in order of appearance."""
    words, first, inverse = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    return {
        str(words[code]): summarise(scores, np.flatnonzero(inverse == code))
        for code in np.argsort(first)
    }


def mean_of_groups(groups: Mapping[str, Mapping[str, float | int | None]]) -> dict[str, Any]:
    """Returns the unweighted mean over groups of every metric, and the number of groups.

    This is the action-wise mean of the papers, where the groups are actions.
    """
    means: dict[str, Any] = {}
    for metric in next(iter(groups.values())):
        if metric == "num_frames":
            continue
        values = [group[metric] for group in groups.values()]
        known = [value for value in values if value is not None]
        means[metric] = float(np.mean(known)) if known else None
    return means | {"num_groups": len(groups)}
