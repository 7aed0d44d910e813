"""The control of PoseMoE: one expert of equal size for 2D pose and depth together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import drop_path_rates
from lifter.errors import LifterConfigError
from lifter.experts import GaussianPrior, SpaceTimeBlock
from lifter.models.base import Outputs
from lifter.models.pose_moe.decoupled import PoseMoE
from lifter.models.pose_moe.parts import PartsLifter


class PoseMoEEntangled(PartsLifter):
    """The control of `pose_moe`: one expert for 2D pose and depth together, of equal size.

    A token is the sum of the embedded 2D joint and of the depth prior, so both are in one feature
    space from the start. It passes as many blocks of attention over joints and over frames one
    after the other as in `pose_moe`: those of the encoder, after which the same first estimates of
    x, y and z are made, and those of the decoder. They are wider by about the root of 2, and their
    feed-forward parts are so wide that both lifters have the same number of parameters. Prior,
    loss and options are those of `pose_moe`; what differs is the feature space. The form of the
    control is ours.

    `depth_std` decides what is compared: far below 1, where embedded 2D joints lie, the control is
    a plain encoder of space and time; at 1 the noise drowns its 2D joints from the start.
    """

    name: ClassVar[str] = "pose_moe_entangled"
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
        with torch.device("meta"):
            wanted = num_parameters(
                PoseMoE(
                    num_joints=num_joints,
                    num_frames=num_frames,
                    width=width,
                    depth=depth,
                    aggregation_depth=aggregation_depth,
                    num_heads=num_heads,
                    mlp_ratio=mlp_ratio,
                )
            )
        width = num_heads * round(math.sqrt(2) * width / num_heads)
        self.pose_embedding = nn.Linear(2, width)
        self.depth_prior = GaussianPrior(
            width,
            num_frames=num_frames,
            num_joints=num_joints,
            std=depth_std,
            seed=depth_seed,
        )
        self.first_norm = nn.LayerNorm(width)
        self.first_xy, self.first_z = nn.Linear(width, 2), nn.Linear(width, 1)
        self.norm = nn.LayerNorm(width)
        self.position = nn.Linear(width, 3)
        depths = (depth, depth if aggregation_depth is None else aggregation_depth)
        mlp_ratio = matching_mlp_ratio(
            wanted - num_parameters(self), num_blocks=sum(depths), width=width, num_heads=num_heads
        )
        self.encoder, self.decoder = (
            nn.ModuleList(
                SpaceTimeBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
                for rate in drop_path_rates(drop_path, blocks)
            )
            for blocks in depths
        )

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # noqa: ARG002 (the call is that of every lifter)
        levels: Sequence[Tensor] | None = None,  # noqa: ARG002
        *,
        scales: Sequence[Tensor] | None = None,  # noqa: ARG002
        window_rows: Tensor | None = None,  # noqa: ARG002
    ) -> Outputs:  # [B, F, J, 3]; in training also the first [B, F, J, 2] and [B, F, J, 1]
        """Returns the joints of all frames in metres, camera frame, relative to the root joint."""
        tokens = self.encode(keypoints_2d)
        poses = tokens
        for block in self.decoder:
            poses = block(poses)
        poses_m: Tensor = self.position(self.norm(poses))
        if not self.training:
            return poses_m
        first = self.first_norm(tokens)
        return poses_m, self.first_xy(first), self.first_z(first)

    def encode(self, keypoints_2d: Tensor) -> Tensor:  # [B, F, J, D]
        """Returns the features that pose and depth share."""
        self.check_window(keypoints_2d)
        tokens: Tensor = self.pose_embedding(keypoints_2d) + self.depth_prior(keypoints_2d.shape[0])
        for block in self.encoder:
            tokens = block(tokens)
        return tokens


def num_parameters(module: nn.Module) -> int:
    """Returns how many numbers a module learns."""
    return sum(parameter.numel() for parameter in module.parameters())


def matching_mlp_ratio(total: int, *, num_blocks: int, width: int, num_heads: int) -> float:
    """Returns the ratio with which so many space-time blocks have about `total` parameters.

    Raises LifterConfigError if they have more with hidden layers of one unit.
    """

    def count(hidden: int) -> int:
        with torch.device("meta"):
            block = SpaceTimeBlock(
                width, num_heads=num_heads, mlp_ratio=(hidden + 0.5) / width, drop_path=0.0
            )
        return num_blocks * num_parameters(block)

    least = count(1)
    hidden = 1 + round((total - least) / (count(2) - least))
    if hidden < 1:
        raise LifterConfigError(
            f"no {num_blocks} blocks of width {width} have as few as {total} parameters:"
            " take a larger mlp_ratio"
        )
    return (hidden + 0.5) / width  # the half, so that rounding down gives back `hidden`
