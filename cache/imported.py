"""2D keypoints that another detector made earlier, beside those of the store's own."""

from __future__ import annotations

from collections.abc import Sequence
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
        flipped: the same, as found in the mirrored picture, left and right already exchanged; None
            where that was not looked at: the flipped view then has `points`, too.
    """

    skeleton: str
    points: NDArray[np.float32]
    flipped: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "points", self._checked(self.points))
        if self.flipped is not None:
            object.__setattr__(self, "flipped", self._checked(self.flipped))

    def _checked(self, given: NDArray[np.float32]) -> NDArray[np.float32]:
        points = np.asarray(given, dtype=np.float32)
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
        return points

    def of_rows(self, rows: Sequence[int], num_views: int) -> NDArray[np.float32]:
        """`[R, V, J, 3]` of R rows, by view."""
        views = [self.points, self.points if self.flipped is None else self.flipped]
        return np.stack([views[view][rows] for view in range(num_views)], axis=1)

    def identity(self) -> dict[str, str]:
        """What they are: joint set and hash of the numbers."""
        arrays = {"points": self.points}
        if self.flipped is not None:
            arrays["flipped"] = self.flipped
        return {"skeleton": self.skeleton, "points": hash_arrays(arrays)}
