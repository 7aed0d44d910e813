"""Experts for parts of a pose over a window of frames: streams of tokens that do not mix.

A stream is [B, F, J, D]: a token for each joint in each of F frames.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from lifter.blocks import AttentionBlock, drop_path_rates


class Streams(NamedTuple):
    """The tokens of two experts."""

    pose: Tensor  # [B, F, J, D] of what the 2D joints show
    depth: Tensor  # [B, F, J, D] of what they do not


def per_frame(tokens: Tensor) -> Tensor:  # [B, F, J, D] -> [B * F, J, D]
    """Returns the joints of every frame as a sample of its own."""
    return tokens.flatten(0, 1)


def per_joint(tokens: Tensor) -> Tensor:  # [B, F, J, D] -> [B * J, F, D]
    """Returns the frames of every joint as a sample of its own."""
    return tokens.transpose(1, 2).flatten(0, 1)


def from_frames(tokens: Tensor, *, num_frames: int) -> Tensor:  # [B * F, J, D] -> [B, F, J, D]
    """Returns what `per_frame` was made of."""
    return torch.unflatten(tokens, 0, (-1, num_frames))


def from_joints(tokens: Tensor, *, num_joints: int) -> Tensor:  # [B * J, F, D] -> [B, F, J, D]
    """Returns what `per_joint` was made of."""
    return torch.unflatten(tokens, 0, (-1, num_joints)).transpose(1, 2)


class SpaceTimeBlock(nn.Module):
    """Attention among the joints of a frame, then among the frames of a joint.

    Drop path skips frames in the first part and joints in the second, each for itself.
    """

    def __init__(self, width: int, *, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.spatial, self.temporal = (
            AttentionBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path)
            for _ in range(2)
        )

    def forward(self, tokens: Tensor) -> Tensor:  # [B, F, J, D] -> the same
        """Returns the updated tokens."""
        _, frames, joints, _ = tokens.shape
        tokens = from_frames(self.spatial(per_frame(tokens)), num_frames=frames)
        return from_joints(self.temporal(per_joint(tokens)), num_joints=joints)


class PositionEmbedding(nn.Module):
    """A learned vector per joint plus one per frame; both start at zero."""

    def __init__(self, width: int, *, num_frames: int, num_joints: int) -> None:
        super().__init__()
        self.joints = nn.Parameter(torch.zeros(num_joints, width))
        self.frames = nn.Parameter(torch.zeros(num_frames, 1, width))

    def forward(self) -> Tensor:  # [F, J, D]
        """Returns the sums."""
        return self.joints + self.frames


class GaussianPrior(nn.Module):
    """Tokens of what is not known: a learned mean per joint and frame, and Gaussian noise.

    Training draws the noise anew for every sample. Evaluation always takes that of the buffer,
    which follows from `seed` and is kept with the weights. The standard deviation is learned per
    channel and starts at `std`.
    """

    noise: Tensor  # [F, J, D]

    def __init__(
        self, width: int, *, num_frames: int, num_joints: int, std: float, seed: int
    ) -> None:
        super().__init__()
        self.mean = PositionEmbedding(width, num_frames=num_frames, num_joints=num_joints)
        self.std = nn.Parameter(torch.full((width,), std))
        drawn = torch.Generator().manual_seed(seed)
        shape = (num_frames, num_joints, width)
        # Where the generator is, even if the weights are made on another device.
        self.register_buffer("noise", torch.randn(shape, generator=drawn, device="cpu"))

    def forward(self, batch: int) -> Tensor:  # [B, F, J, D]
        """Returns the tokens of `batch` samples."""
        noise = self.noise.expand(batch, -1, -1, -1)
        if self.training:
            noise = torch.randn_like(noise)
        tokens: Tensor = self.mean() + self.std * noise
        return tokens


class DecoupledEncoder(nn.Module):
    """Two experts of equal form and own weights; the depth expert looks at the other, one way.

    Before each of its blocks the depth expert adds a linear map of the 2D tokens as they are after
    the block of the other expert. It gets them without their gradient: neither the values nor the
    training of the 2D expert depend on the depth expert.
    """

    def __init__(
        self, width: int, *, depth: int, num_heads: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.pose_blocks, self.depth_blocks = (
            nn.ModuleList(
                SpaceTimeBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
                for rate in drop_path_rates(drop_path, depth)
            )
            for _ in range(2)
        )
        self.conditions = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width)) for _ in range(depth)
        )
        self.pose_norm, self.depth_norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, streams: Streams) -> Streams:
        """Returns the refined tokens of both experts, normed."""
        pose, depth = streams
        for pose_block, condition, depth_block in zip(
            self.pose_blocks, self.conditions, self.depth_blocks, strict=True
        ):
            pose = pose_block(pose)
            depth = depth_block(depth + condition(pose.detach()))
        return Streams(self.pose_norm(pose), self.depth_norm(depth))


class Router(nn.Module):
    """Decides for every token how much of each expert it takes."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gate = nn.Linear(2 * width, 2)

    def weights(self, streams: Streams) -> Tensor:  # [B, F, J, 2]
        """Returns the shares of the pose and the depth expert; they sum to 1."""
        logits: Tensor = self.gate(torch.cat(streams, dim=-1))
        return logits.softmax(dim=-1)

    def forward(self, streams: Streams) -> Tensor:  # [B, F, J, D]
        """Returns the mean of the experts' tokens, weighted by their shares."""
        shares = self.weights(streams)
        return shares[..., :1] * streams.pose + shares[..., 1:] * streams.depth
