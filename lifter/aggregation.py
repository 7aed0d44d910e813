"""Knowledge passed between two experts, both ways, over space and time."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from lifter.blocks import NORM_EPS, DropPath, FeedForward, drop_path_rates
from lifter.experts import Streams, from_frames, from_joints, per_frame, per_joint


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to those of another stream."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.queries = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:  # [B, T, D] each -> the same
        """Returns for each token the mean of the others' values, weighted by attention."""
        batch, count, width = tokens.shape
        heads = (batch, -1, self.num_heads, width // self.num_heads)
        keys_values = self.keys_values(others).split(width, dim=-1)
        # three of [B, T, D] -> [B, M, T, D/M]
        queries, keys, values = (
            part.view(heads).transpose(1, 2) for part in (self.queries(tokens), *keys_values)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return output


class CrossAttentionBlock(nn.Module):
    """Pre-norm transformer block: attention to another stream, then a feed-forward part."""

    def __init__(self, width: int, *, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.other_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = CrossAttention(width, num_heads=num_heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, mlp_ratio=mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:  # [B, T, D] each -> the same
        """Returns the updated tokens; the others stay as they are."""
        found = self.attention(self.query_norm(tokens), self.other_norm(others))
        tokens = tokens + self.drop_path(found)
        update = self.feed_forward(self.feed_forward_norm(tokens))
        output: Tensor = tokens + self.drop_path(update)
        return output


class Exchange(nn.Module):
    """Each of two streams attends to the other as it was before."""

    def __init__(self, width: int, *, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.pose_from_depth, self.depth_from_pose = (
            CrossAttentionBlock(
                width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path
            )
            for _ in range(2)
        )

    def forward(self, pose: Tensor, depth: Tensor) -> tuple[Tensor, Tensor]:  # [B, T, D] each
        """Returns the updated tokens of both."""
        return self.pose_from_depth(pose, depth), self.depth_from_pose(depth, pose)


class AggregationBlock(nn.Module):
    """An exchange among the joints of a frame, then one among the frames of a joint."""

    def __init__(self, width: int, *, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.spatial, self.temporal = (
            Exchange(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=drop_path)
            for _ in range(2)
        )

    def forward(self, streams: Streams) -> Streams:  # [B, F, J, D] each
        """Returns the updated tokens of both experts."""
        _, frames, joints, _ = streams.pose.shape
        in_frames = self.spatial(*map(per_frame, streams))
        pose, depth = (from_frames(tokens, num_frames=frames) for tokens in in_frames)
        in_joints = self.temporal(per_joint(pose), per_joint(depth))
        return Streams(*(from_joints(tokens, num_joints=joints) for tokens in in_joints))


def aggregation_blocks(
    width: int, *, depth: int, num_heads: int, mlp_ratio: float, drop_path: float
) -> nn.ModuleList:
    """Returns `depth` blocks, whose drop path rises linearly to `drop_path`."""
    return nn.ModuleList(
        AggregationBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
        for rate in drop_path_rates(drop_path, depth)
    )
