"""PoseFormer: attention among the joints of a frame, then among the frames of a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import NORM_EPS, AttentionBlock, drop_path_rates
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.window_checks import require_frames


class PoseFormer(Lifter):
    """A spatial transformer per frame, a temporal one over whole poses, a weighted mean of frames.

    Zheng, Zhu, Mendieta, Yang, Chen and Ding: "3D Human Pose Estimation with Spatial and Temporal
    Transformers", ICCV 2021, section 3.2: joints are tokens of 32 values, frames are tokens of
    32 J values; four blocks each, 8 heads; then a learned weight per frame, and a linear head for
    the target frame.

    As published: the layers, 9.60 M parameters with 81 frames and 17 joints. Ours: drop path is
    `lifter.drop_path`, whose default 0.2 is that of the published class (its training sets 0.1);
    with causal windows the network is the same, and the target is the last frame it sees.

    Args:
        num_joints: J.
        num_frames: F.
        width: four times the width of a joint's token, so that `lifter.width` scales this lifter
            too; the default 128 makes the published 32.
        token_width: width of a joint's token; `None`: a quarter of `width`.
        depth: blocks of each transformer.
        num_heads: heads of attention in both; divides the width of a joint's token.
        mlp_ratio: width of the hidden layer of a feed-forward part, in token widths.
        drop_path: highest probability of skipping a block in training.

    Raises:
        LifterConfigError: the heads do not divide the width of a joint's token.
    """

    name: ClassVar[str] = "poseformer"
    uses_features: ClassVar[bool] = False
    reads_windows: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_joints: int = 17,
        num_frames: int = 1,
        width: int = 128,
        token_width: int | None = None,
        depth: int = 4,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        token_width = width // 4 if token_width is None else token_width
        if token_width < num_heads or token_width % num_heads:
            raise LifterConfigError(
                f"poseformer has joint tokens of {token_width} values, which num_heads={num_heads}"
                " must divide. Set lifter.width to a multiple of 4 x num_heads, or"
                " lifter.token_width to one of num_heads."
            )
        self.num_frames = num_frames
        pose_width = num_joints * token_width
        rates = drop_path_rates(drop_path, depth)
        self.joint_embedding = nn.Linear(2, token_width)
        self.joint_positions = nn.Parameter(torch.zeros(1, num_joints, token_width))
        self.frame_positions = nn.Parameter(torch.zeros(1, num_frames, pose_width))
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(
                AttentionBlock(each, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
                for rate in rates
            )
            for each in (token_width, pose_width)
        )
        self.spatial_norm = nn.LayerNorm(token_width, eps=NORM_EPS)
        self.temporal_norm = nn.LayerNorm(pose_width, eps=NORM_EPS)
        self.weighted_mean = nn.Conv1d(num_frames, 1, 1)
        self.head_norm = nn.LayerNorm(pose_width)
        self.position = nn.Linear(pose_width, 3 * num_joints)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:  # [B, J, 3]
        """Returns the target frame's joints in metres, camera frame, relative to the root joint."""
        require_frames(keypoints_2d, self.num_frames, lifter="poseformer")
        batch, frames, joints, _ = keypoints_2d.shape
        tokens = self.joint_embedding(keypoints_2d.flatten(0, 1))  # [B F, J, 2] -> [B F, J, D]
        tokens = tokens + self.joint_positions
        for block in self.spatial_blocks:
            tokens = block(tokens)
        poses = self.spatial_norm(tokens).view(batch, frames, -1)  # [B F, J, D] -> [B, F, J D]
        poses = poses + self.frame_positions
        for block in self.temporal_blocks:
            poses = block(poses)
        pose = self.weighted_mean(self.temporal_norm(poses)).squeeze(1)  # [B, F, J D] -> [B, J D]
        output: Tensor = self.position(self.head_norm(pose))
        return output.view(batch, joints, 3)  # from [B, 3 J]
