"""What lifters of windows ask of their input."""

from __future__ import annotations

from torch import Tensor

from lifter.errors import LifterConfigError


def require_frames(keypoints_2d: Tensor, num_frames: int, *, lifter: str) -> None:
    """Raises `LifterConfigError` unless the keypoints are windows [B, F, J, 2] of `num_frames`."""
    if keypoints_2d.ndim != 4 or keypoints_2d.shape[1] != num_frames:
        raise LifterConfigError(
            f"{lifter} was built for keypoints_2d [B, {num_frames}, J, 2], got"
            f" {tuple(keypoints_2d.shape)}. Give it windows of that many frames, or build it with"
            " another num_frames."
        )
