"""Whether keypoints have the joint order that they are said to have."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache import SkeletonMismatch, convert_keypoints
from cache.plan import RowPlan
from cache.skeletons import SKELETONS, get_skeleton
from stages.extract.datasets.base import DatasetError
from stages.extract.imports.matching import distances, refuse_elsewhere

_MIN_ROWS = 8
_MAX_ROWS = 512
_DOUBTFUL = 0.1
"""Joints nearer to the labels than this share of the person's size are not questioned: joint sets
place joints of one name that far apart."""
_BETTER = 0.5
_EXCHANGED = "left and right exchanged"


def refuse_misplaced(plan: RowPlan, points: NDArray[np.float32], skeleton: str, path: Path) -> None:
    """Raise DatasetError where keypoints `[N, J, 3]` are in another order or place than labels."""
    there = np.asarray((points[..., 2] > 0).any(axis=1))
    refuse_other_order(plan, points, there, skeleton, path)
    refuse_elsewhere(plan, points, there, skeleton, path)


def refuse_other_order(
    plan: RowPlan, points: NDArray[np.float32], there: NDArray[np.bool_], skeleton: str, path: Path
) -> None:
    """Raise DatasetError where keypoints fit the labels twice as well in another joint order.

    Joint sets of as many joints (COCO17, H36M17, MPI17) cannot be told apart by their shape.

    Args:
        plan: rows with 2D labels; without any nothing can be said.
        points: `[N, J, 3]` x, y px, score.
        there: `[N]` rows that have keypoints.
        skeleton: joint set that they are said to have.
        path: of their file, for errors.
    """
    known = np.flatnonzero(there & plan.valid.any(axis=1))
    if len(known) < _MIN_ROWS or not _converts(skeleton, plan.skeleton):
        return
    rows = known[:: -(-len(known) // _MAX_ROWS)]
    said = float(np.median(distances(plan, points, rows, skeleton)))
    others = _other_distances(plan, points, rows, skeleton)
    best = min(others, key=others.__getitem__)
    if said > _DOUBTFUL and others[best] < _BETTER * said:
        raise DatasetError(
            f"{path}: as {skeleton} its keypoints lie {said:.0%} of the person's size from the "
            f"labels, as {best} only {others[best]:.0%}. Name their joint set in "
            "dataset.keypoints, or write the joints in its order."
        )


def _other_distances(
    plan: RowPlan, points: NDArray[np.float32], rows: NDArray[np.intp], skeleton: str
) -> Mapping[str, float]:
    num_joints = get_skeleton(skeleton).num_joints
    swapped = points[:, get_skeleton(skeleton).swap]
    found = {_EXCHANGED: distances(plan, swapped, rows, skeleton)}
    for other in SKELETONS.values():
        fits = other.num_joints == num_joints and other.name != skeleton
        if fits and _converts(other.name, plan.skeleton):
            found[other.name] = distances(plan, points, rows, other.name)
    return {name: float(np.median(shares)) for name, shares in found.items()}


def _converts(source: str, target: str) -> bool:
    try:
        convert_keypoints(np.zeros((1, get_skeleton(source).num_joints, 2)), source, target)
    except SkeletonMismatch:
        return False
    return True
