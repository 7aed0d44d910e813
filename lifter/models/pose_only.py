"""A lifter of 2D joints alone: the control of `capf`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import JointDecoder
from lifter.models.base import Lifter

TOKENS_PER_JOINT = 5  # of capf with the four published levels


class PoseOnly(Lifter):
    """`capf` without context: joint embedding, position embedding, joint blocks and head.

    With the default token width the joint blocks and the head have the shapes of those of a `capf`
    with four levels, so what differs between the two is what feeds them.
    """

    name: ClassVar[str] = "pose_only"
    uses_features: ClassVar[bool] = False
    last_layer: ClassVar[str] = "decoder.position"

    def __init__(
        self,
        *,
        num_joints: int = 17,
        width: int = 128,
        token_width: int | None = None,
        depth: int = 4,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        token_width = token_width or TOKENS_PER_JOINT * width
        self.pose_embedding = nn.Linear(2, token_width)
        self.position_embedding = nn.Parameter(torch.zeros(1, num_joints, token_width))
        self.decoder = JointDecoder(
            token_width, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path
        )

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
        joints = self.pose_embedding(keypoints_2d) + self.position_embedding
        output: Tensor = self.decoder(joints)
        return output
