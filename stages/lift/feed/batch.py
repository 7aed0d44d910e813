"""What a lifter is called with, and what it should answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lifter.models.base import Outputs


@dataclass(frozen=True)
class Batch:
    """`B` samples; maps are channels last, in the order of the lifter's levels.

    Of a point cache, a map is one row of what the lifter's maps show at the joints, [R, 1, J, C].

    With windows of F frames, keypoints have an axis for them after the first, and so have targets
    if every frame is predicted. Frames that several windows share are there once among R rows of
    maps and reference points; without windows, R is B. Without maps, R is 0 with windows.
    """

    keypoints_2d: Tensor  # [B, (F,) J, 2] screen-normalised, float32
    reference_points: Tensor  # [R, J, 2] unit frame, float32
    levels: list[Tensor]  # L maps [R, H, W, C], as stored
    scales: list[Tensor] | None  # per level [C], float32, what its codes are multiplied by
    target_m: Tensor  # [B, (F,) J, 3] camera frame, relative to the root, float32
    valid: Tensor  # [B, (F,) J] bool
    samples: NDArray[np.int64]  # [B] positions in the split; of windows, of their targets' frames
    rows_of_all: int  # of the batch of all processes; B if there is one
    loss_weight: float = 1.0  # see `LiftData.part`
    window_rows: Tensor | None = None  # [B, F] which of the R rows each frame of a window is
    map_frames: NDArray[np.int64] | None = None  # [R] positions of the frames; None: the samples
    holds_points: bool = False  # whether the maps are those of a point cache

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on `device`; on the CPU, the batch itself."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            keypoints_2d=self.keypoints_2d.to(device, non_blocking=True),
            reference_points=self.reference_points.to(device, non_blocking=True),
            levels=[level.to(device, non_blocking=True) for level in self.levels],
            target_m=self.target_m.to(device, non_blocking=True),
            valid=self.valid.to(device, non_blocking=True),
            window_rows=None
            if self.window_rows is None
            else self.window_rows.to(device, non_blocking=True),
        )

    def tensors(self) -> list[Tensor]:
        """Returns all that `to` moves."""
        others = [self.target_m, self.valid]
        others += [] if self.window_rows is None else [self.window_rows]
        return [self.keypoints_2d, self.reference_points, *self.levels, *others]

    def lifted_by(self, model: Callable[..., Outputs]) -> Outputs:
        """Returns what a lifter makes of the batch; scales and windows go to it where they are.

        It gets points as [R, J, C].
        """
        more: dict[str, Any] = {} if self.scales is None else {"scales": self.scales}
        if self.window_rows is not None:
            more["window_rows"] = self.window_rows
        levels = [level.squeeze(1) for level in self.levels] if self.holds_points else self.levels
        return model(self.keypoints_2d, self.reference_points, levels, **more)
