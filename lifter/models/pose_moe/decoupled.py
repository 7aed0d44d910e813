"""PoseMoE: an expert for the 2D pose and one for the depth, apart before they work together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.aggregation import aggregation_blocks
from lifter.experts import DecoupledEncoder, GaussianPrior, PositionEmbedding, Router, Streams
from lifter.models.base import Outputs
from lifter.models.pose_moe.parts import PartsLifter


class PoseMoE(PartsLifter):
    """PoseMoE (Liu et al., arXiv 2512.16494): decouple, then aggregate.

    From public descriptions of the paper; its code and its tables were not available. Theirs: an
    embedding of the 2D pose sequence; a depth stream that starts from a Gaussian prior; an encoder
    of two experts that do not mix; a router that fuses them; a decoder of cross-attention both
    ways, over space and time; a prediction for every frame.

    Ours, for want of a statement:
        - position embeddings per joint and per frame, and as the learned mean of the prior; its
          learned standard deviation starts at `depth_std`; training draws its noise anew for every
          sample, evaluation takes noise fixed by `depth_seed`;
        - experts are alternating attention over joints and over frames, pre-norm;
        - the depth expert is conditioned on the 2D features, one way, before each block, by a
          linear map of their detached values: without it, it would see no input;
        - the first estimates of x, y (2D expert) and z (depth expert) have losses of their own;
        - the router is a softmax over both experts, per token, from both tokens; the fused token
          is added to both streams before the decoder;
        - in the decoder both directions attend to the other stream as it was before, with own
          weights; a linear layer reads both streams, normed;
        - depth, width, and the loss (see `PartsLifter`) with all its weights.
    """

    name: ClassVar[str] = "pose_moe"
    uses_features: ClassVar[bool] = False

    def __init__(
        self,
        *,
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
    ) -> None:
        super().__init__(
            num_frames=num_frames,
            causal=causal,
            n_mpjpe_weight=n_mpjpe_weight,
            velocity_weight=velocity_weight,
            parts_weight=parts_weight,
        )
        self.pose_embedding = nn.Linear(2, width)
        self.position_embedding = PositionEmbedding(
            width, num_frames=num_frames, num_joints=num_joints
        )
        self.depth_prior = GaussianPrior(
            width,
            num_frames=num_frames,
            num_joints=num_joints,
            std=depth_std,
            seed=depth_seed,
        )
        self.encoder = DecoupledEncoder(
            width, depth=depth, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path
        )
        self.first_xy, self.first_z = nn.Linear(width, 2), nn.Linear(width, 1)
        self.router = Router(width)
        self.decoder = aggregation_blocks(
            width,
            depth=depth if aggregation_depth is None else aggregation_depth,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            drop_path=drop_path,
        )
        self.norm = nn.LayerNorm(2 * width)
        self.position = nn.Linear(2 * width, 3)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # [R, J, 2] unit frame
        levels: Sequence[Tensor] | None = None,  # L maps [R, H, W, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # [B, F] int64 in 0..R-1
    ) -> Outputs:  # [B, F, J, 3]; in training also the first [B, F, J, 2] and [B, F, J, 1]
        """Returns the joints of all frames in metres, camera frame, relative to the root joint."""
        experts = self.encode(
            keypoints_2d, reference_points, levels, scales=scales, window_rows=window_rows
        )
        poses_m = self.aggregate(experts)
        if not self.training:
            return poses_m
        return poses_m, self.first_xy(experts.pose), self.first_z(experts.depth)

    def encode(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,
        levels: Sequence[Tensor] | None = None,
        *,
        scales: Sequence[Tensor] | None = None,
        window_rows: Tensor | None = None,
    ) -> Streams:  # [B, F, J, D] each
        """Returns the features of both experts before anything goes from depth to pose."""
        self.check_window(keypoints_2d)
        pose = self.pose_embedding(keypoints_2d) + self.position_embedding()
        depth = self.depth_prior(keypoints_2d.shape[0])
        context = self.context(reference_points, levels, scales=scales, window_rows=window_rows)
        if context is not None:
            depth = depth + context
        streams: Streams = self.encoder(Streams(pose, depth))
        return streams

    def context(
        self,
        reference_points: Tensor | None,  # noqa: ARG002 (for lifters that look at the maps)
        levels: Sequence[Tensor] | None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None,  # noqa: ARG002
        window_rows: Tensor | None,  # noqa: ARG002
    ) -> Tensor | None:  # [B, F, J, D]
        """Returns what the maps tell the depth expert; None: nothing."""
        return None

    def aggregate(self, experts: Streams) -> Tensor:  # [B, F, J, 3]
        """Returns the poses from the features of both experts."""
        shared = self.router(experts)
        streams = Streams(experts.pose + shared, experts.depth + shared)
        for block in self.decoder:
            streams = block(streams)
        poses_m: Tensor = self.position(self.norm(torch.cat(streams, dim=-1)))
        return poses_m
