"""What every lifter is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

from torch import Tensor, nn

from lifter.config import LifterConfig


class Lifter(nn.Module):
    """A network from 2D joints, and possibly feature maps, to 3D joints."""

    uses_features: ClassVar[bool]
    """Whether `forward` reads `reference_points` and `levels`."""

    @classmethod
    @abstractmethod
    def from_config(
        cls, config: LifterConfig, *, level_channels: Sequence[int], num_joints: int
    ) -> Self:
        """Returns a lifter with random weights."""

    @abstractmethod
    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised, float32
        reference_points: Tensor | None = None,  # [B, J, 2] unit frame, float32
        levels: Sequence[Tensor] | None = None,  # L maps [B, H, W, C], any dtype of deform_sample
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
