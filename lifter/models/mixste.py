"""MixSTE: joints among each other and each joint through time, in turn, for every frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import NORM_EPS, AttentionBlock, drop_path_rates
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter, Outputs, prediction
from lifter.weighted_losses import weighted_sequence_loss
from lifter.window_checks import require_frames


class MixSTE(Lifter):
    """Spatial and temporal attention in turn; returns a pose for every frame of the window.

    Zhang, Tu, Yang, Chen and Yuan: "MixSTE: Seq2seq Mixed Spatio-Temporal Encoder for 3D Human Pose
    Estimation in Video", CVPR 2022, section 3: every joint of every frame is a token of 512 values;
    eight times, the joints of a frame attend to each other, then the frames of a joint, with 8
    heads; a linear head per token. With 17 joints 33.65 M parameters (published: 33.6 M) and those
    of the position embeddings, 0.05 M with 81 frames.

    As published: the layers, with one norm shared by all spatial and one by all temporal blocks,
    and the terms of the loss (section 3.4): distances of the joints, of their steps from frame to
    frame (factor 2), and the squared steps of the prediction (factor 0.5), weighted by joint. Ours:
    the default loss has the first two terms only and equal weights. The published one is
    `consistency_weight=0.5` with, for H36M17,
    `joint_weights=[1,1,2.5,2.5,1,2.5,2.5,1,1,1,1.5,1.5,4,4,1.5,4,4]`; published drop path is 0.1.
    Causal windows are refused: but for the last frame, predictions would see later ones.

    Args:
        num_joints: J.
        num_frames: F.
        causal: must be off.
        width: a quarter of a token's width, so that `lifter.width` scales this lifter too; the
            default 128 makes the published 512.
        token_width: width of a token; `None`: 4 x `width`.
        depth: half of the spatial and half of the temporal blocks; the default 4 makes the
            published eight of each.
        num_heads: heads of attention; divides the width of a token.
        mlp_ratio: width of the hidden layer of a feed-forward part, in token widths.
        drop_path: highest probability of skipping a block in training.
        velocity_weight: factor of the error of the steps from frame to frame.
        consistency_weight: factor of the squared steps themselves.
        joint_weights: J factors on the terms of position and consistency; `None`: all 1.

    Raises:
        LifterConfigError: causal windows, heads that do not divide the width of a token, or another
            number of joint weights than of joints.
    """

    name: ClassVar[str] = "mixste"
    uses_features: ClassVar[bool] = False
    reads_windows: ClassVar[bool] = True
    predicts_windows: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_joints: int = 17,
        num_frames: int = 1,
        causal: bool = False,
        width: int = 128,
        token_width: int | None = None,
        depth: int = 4,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
        velocity_weight: float = 2.0,
        consistency_weight: float = 0.0,
        joint_weights: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        token_width = 4 * width if token_width is None else token_width
        if causal:
            raise LifterConfigError(
                "mixste predicts every frame of a window, and all but the last would see later"
                " ones. Set lifter.causal=false, or take a lifter of the target frame alone."
            )
        if token_width % num_heads:
            raise LifterConfigError(
                f"mixste has tokens of {token_width} values, which num_heads={num_heads} must"
                " divide. Set lifter.token_width to a multiple of it."
            )
        weights = (1.0,) * num_joints if joint_weights is None else tuple(joint_weights)
        if len(weights) != num_joints:
            raise LifterConfigError(
                f"joint_weights has {len(weights)} numbers, but there are {num_joints} joints."
            )
        self.num_frames = num_frames
        self.velocity_weight, self.consistency_weight = velocity_weight, consistency_weight
        # Part of the configuration, not of the weights.
        self.register_buffer("joint_weights", torch.tensor(weights), persistent=False)
        rates = drop_path_rates(drop_path, 2 * depth)
        self.joint_embedding = nn.Linear(2, token_width)
        self.joint_positions = nn.Parameter(torch.zeros(1, 1, num_joints, token_width))
        self.frame_positions = nn.Parameter(torch.zeros(1, num_frames, 1, token_width))
        self.spatial_blocks, self.temporal_blocks = (
            nn.ModuleList(
                AttentionBlock(
                    token_width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate
                )
                for rate in rates
            )
            for _ in range(2)
        )
        self.spatial_norm = nn.LayerNorm(token_width, eps=NORM_EPS)
        self.temporal_norm = nn.LayerNorm(token_width, eps=NORM_EPS)
        self.head_norm = nn.LayerNorm(token_width)
        self.position = nn.Linear(token_width, 3)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Tensor:  # [B, F, J, 3]
        """Returns the joints in metres, camera frame, relative to the root joint."""
        require_frames(keypoints_2d, self.num_frames, lifter="mixste")
        batch, frames, joints, _ = keypoints_2d.shape
        tokens = self.joint_embedding(keypoints_2d) + self.joint_positions  # [B, F, J, D]
        for index, (spatial, temporal) in enumerate(
            zip(self.spatial_blocks, self.temporal_blocks, strict=True)
        ):
            tokens = self.spatial_norm(spatial(tokens.flatten(0, 1)))  # [B F, J, D]
            tokens = tokens.view(batch, frames, joints, -1)
            if index == 0:
                tokens = tokens + self.frame_positions
            tokens = tokens.transpose(1, 2).flatten(0, 1)  # [B, F, J, D] -> [B J, F, D]
            tokens = self.temporal_norm(temporal(tokens)).view(batch, joints, frames, -1)
            tokens = tokens.transpose(1, 2)  # [B, F, J, D]
        output: Tensor = self.position(self.head_norm(tokens))
        return output

    def loss(
        self,
        outputs: Outputs,
        target_m: Tensor,  # [B, F, J, 3]
        valid: Tensor | None = None,  # [B, F, J] bool; None: all
    ) -> Tensor:
        """Returns the sum of the weighted terms, float32; see `weighted_sequence_loss`."""
        return weighted_sequence_loss(
            prediction(outputs).float(),
            target_m,
            valid,
            joint_weights=self.get_buffer("joint_weights"),
            velocity_weight=self.velocity_weight,
            consistency_weight=self.consistency_weight,
        )
