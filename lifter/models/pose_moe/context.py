"""PoseMoE whose depth expert looks at the feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor

from lifter.config import LifterConfig, ReferenceRule
from lifter.errors import LifterConfigError
from lifter.models.pose_moe.decoupled import PoseMoE
from lifter.ops import prepare_levels
from lifter.pyramid import PyramidEmbedding, are_points, geometric_shifts
from lifter.window_rows import rows_of_windows


class PoseMoEContext(PoseMoE):
    """PoseMoE whose depth expert also sees the feature maps at the joints. The idea is ours.

    What the maps show at a joint, projected level by level and summed, is added to the depth
    tokens before the encoder; the 2D expert never sees it.
    """

    name: ClassVar[str] = "pose_moe_context"
    uses_features: ClassVar[bool] = True

    @classmethod
    def reads_points(cls, config: LifterConfig) -> bool:  # noqa: ARG003 (however configured)
        """Returns True: nothing is sampled around the joints."""
        return True

    def __init__(
        self,
        *,
        level_channels: Sequence[int],
        num_joints: int = 17,
        num_frames: int = 27,
        causal: bool = False,
        width: int = 128,
        depth: int = 4,
        aggregation_depth: int | None = None,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
        depth_std: float = 0.1,
        depth_seed: int = 0,
        n_mpjpe_weight: float = 0.5,
        velocity_weight: float = 2.0,
        parts_weight: float = 0.5,
        reference_rule: ReferenceRule = "published",
    ) -> None:
        super().__init__(
            num_joints=num_joints,
            num_frames=num_frames,
            causal=causal,
            width=width,
            depth=depth,
            aggregation_depth=aggregation_depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
            depth_std=depth_std,
            depth_seed=depth_seed,
            n_mpjpe_weight=n_mpjpe_weight,
            velocity_weight=velocity_weight,
            parts_weight=parts_weight,
        )
        if not level_channels:
            raise LifterConfigError(
                "pose_moe_context reads feature maps, but level_channels is empty. "
                "Name the channels of at least one level, or build 'pose_moe'."
            )
        self.reference_rule = reference_rule
        self.pyramid = PyramidEmbedding(width, level_channels=level_channels)

    def context(
        self,
        reference_points: Tensor | None,  # [R, J, 2] unit frame
        levels: Sequence[Tensor] | None,  # L maps [R, H, W, C], or L points [R, J, C]
        *,
        scales: Sequence[Tensor] | None,
        window_rows: Tensor | None,  # [B, F]
    ) -> Tensor:  # [B, F, J, D]
        """Returns the sum over levels of what they show at the joints."""
        levels = self.pyramid.check(levels)
        if reference_points is None or window_rows is None:
            raise LifterConfigError(
                "pose_moe_context needs reference_points [R, J, 2] and window_rows [B, F] with its"
                " levels, got None."
            )
        shifts = None
        if not are_points(levels):
            levels = prepare_levels(levels, reference_points)
            if self.reference_rule == "geometric":
                shifts = geometric_shifts(reference_points, levels)
        seen = self.pyramid(reference_points, levels, scales=scales, shifts=shifts)  # [R, L, J, D]
        return rows_of_windows(seen.sum(dim=1), window_rows)  # [R, J, D] -> [B, F, J, D]
