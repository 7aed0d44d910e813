"""Context-Aware PoseFormer, single frame: 2D joints that look at the feature maps around them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import AttentionBlock, DeformableBlock, JointDecoder, drop_path_rates
from lifter.config import Fusion, LifterConfig, ReferenceRule
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.ops import prepare_levels
from lifter.pyramid import PyramidEmbedding, are_points, geometric_shifts


class Capf(Lifter):
    """Context-Aware PoseFormer (Zhao et al., NeurIPS 2023).

    A joint has 1 + L tokens: one for its 2D position and one per level. Context blocks let the
    level tokens sample their maps around the joint, fusion blocks mix the tokens of a joint, and
    joint blocks mix the joints, each as one wide token. Without context blocks (`fusion` other than
    `full`) it needs of the maps only what they show at the joints.
    """

    name: ClassVar[str] = "capf"
    uses_features: ClassVar[bool] = True
    last_layer: ClassVar[str] = "decoder.position"

    @classmethod
    def reads_points(cls, config: LifterConfig) -> bool:
        """Returns whether no block samples around the joints."""
        return config.fusion != "full"

    def __init__(
        self,
        *,
        level_channels: Sequence[int],
        num_joints: int = 17,
        width: int = 128,
        depth: int = 4,
        num_heads: int = 8,
        deform_heads: int = 4,
        num_points: int = 4,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
        context_dropout: float = 0.0,
        fusion: Fusion = "full",
        reference_rule: ReferenceRule = "published",
    ) -> None:
        super().__init__()
        if not level_channels:
            raise LifterConfigError(
                "capf reads feature maps, but level_channels is empty. "
                "Name the channels of at least one level, or build 'pose_only'."
            )
        num_tokens = 1 + len(level_channels)
        rates = drop_path_rates(drop_path, depth)
        self.context_dropout, self.reference_rule = context_dropout, reference_rule
        self.pose_embedding = nn.Linear(2, width)
        self.pyramid = PyramidEmbedding(width, level_channels=level_channels)
        self.position_embedding = nn.Parameter(torch.zeros(1, num_tokens, num_joints, width))
        self.context_blocks = nn.ModuleList(
            DeformableBlock(
                width,
                level_channels=level_channels,
                num_heads=deform_heads,
                num_points=num_points,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
            )
            for rate in (rates if fusion == "full" else ())
        )
        self.fusion_blocks = nn.ModuleList(
            AttentionBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
            for rate in (rates if fusion != "concat" else ())
        )
        self.decoder = JointDecoder(
            num_tokens * width,
            depth=depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # [B, J, 2] unit frame
        levels: Sequence[Tensor] | None = None,  # L maps [B, H, W, C], or L points [B, J, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # noqa: ARG002 (lifts single frames)
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
        levels = self.pyramid.check(levels)
        if reference_points is None:
            raise LifterConfigError("capf needs reference_points [B, J, 2], got None.")
        batch, joints, _ = keypoints_2d.shape
        shifts = None
        if not are_points(levels):
            levels = prepare_levels(levels, reference_points)
            if self.reference_rule == "geometric":
                shifts = geometric_shifts(reference_points, levels)
        elif self.context_blocks:
            raise LifterConfigError(
                "capf with fusion='full' samples maps [B, H, W, C] around the joints, got points "
                "[B, J, C]. Give it maps, or build it with fusion='fusion' or 'concat'."
            )
        visible = self._visible(keypoints_2d, len(levels))

        pose = self.pose_embedding(keypoints_2d)[:, None]  # [B, 1, J, D]
        context = self.pyramid(
            reference_points, levels, scales=scales, shifts=shifts
        )  # [B, L, J, D]
        if visible is not None:
            context = context * visible
        pose = pose + self.position_embedding[:, :1]
        context = context + self.position_embedding[:, 1:]
        for block in self.context_blocks:
            context = block(
                context,
                pose,
                reference_points,
                levels,
                scales=scales,
                shifts=shifts,
                visible=visible,
            )

        # [B, 1 + L, J, D] -> [B * J, 1 + L, D]
        tokens = torch.cat((pose, context), dim=1).transpose(1, 2).flatten(0, 1)
        for block in self.fusion_blocks:
            tokens = block(tokens)
        output: Tensor = self.decoder(tokens.reshape(batch, joints, -1))  # from [B, J, (1 + L) * D]
        return output

    def _visible(self, like: Tensor, num_levels: int) -> Tensor | None:
        """Returns the mask [B, L, J, 1] of the tokens that see their map, or None for all.

        A hidden token sees its map nowhere in the network. The others are not scaled up: they look
        in training as they do in evaluation.
        """
        if not self.training or self.context_dropout == 0.0:
            return None
        batch, joints, _ = like.shape
        return like.new_empty((batch, num_levels, joints, 1)).bernoulli_(1 - self.context_dropout)
