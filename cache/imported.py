"""2D keypoints that another detector made earlier, beside those of the store's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache.errors import PlanError
from cache.fingerprint import hash_arrays
from cache.skeletons import get_skeleton

PREFIX = "imported:"
"""A source is called `imported:<name>`."""


@dataclass(frozen=True, eq=False)
class ImportedKeypoints:
    """Keypoints of every row of a plan.

    Args:
        skeleton: joint set.
        points: `[N, J, 3]` float32: x, y in px of the unmirrored picture, score.
    """

    skeleton: str
    points: NDArray[np.float32]

    def __post_init__(self) -> None:
        points = np.asarray(self.points, dtype=np.float32)
        joints = get_skeleton(self.skeleton).num_joints
        if points.ndim != 3 or points.shape[1:] != (joints, 3):
            raise PlanError(
                f"imported keypoints of {self.skeleton} must have shape (N, {joints}, 3), "
                f"got {points.shape}"
            )
        if not np.isfinite(points).all():
            row = int(np.flatnonzero(~np.isfinite(points).all(axis=(1, 2)))[0])
            raise PlanError(
                f"imported keypoints are not finite in row {row}; store zeros with score 0"
            )
        object.__setattr__(self, "points", points)

    def identity(self) -> dict[str, str]:
        """What they are: joint set and hash of the numbers."""
        return {"skeleton": self.skeleton, "points": hash_arrays({"points": self.points})}
