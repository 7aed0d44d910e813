"""Parts of transformers: attention among tokens, and deformable sampling of maps by tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter.ops import deform_sample

NORM_EPS = 1e-6  # of the published attention blocks; its other norms keep PyTorch's 1e-5


def drop_path_rates(highest: float, depth: int) -> list[float]:
    """Returns the drop-path probability of each block: linear from 0 to `highest`."""
    return [highest * index / max(depth - 1, 1) for index in range(depth)]


class DropPath(nn.Module):
    """Zeroes a residual branch for whole samples (first axis) in training, scaling the others."""

    def __init__(self, probability: float) -> None:
        super().__init__()
        self.probability = probability

    def forward(self, branch: Tensor) -> Tensor:  # [B, ...] -> the same
        """Returns the branch, or zeros, sample by sample."""
        if not self.training or self.probability == 0.0:
            return branch
        keep = 1.0 - self.probability
        mask = branch.new_empty((len(branch),) + (1,) * (branch.ndim - 1)).bernoulli_(keep)
        return branch * mask.div_(keep)

    def extra_repr(self) -> str:
        """Returns what `print(model)` shows."""
        return f"{self.probability:g}"


class FeedForward(nn.Module):
    """Linear, GELU, Linear, token by token."""

    def __init__(self, width: int, *, mlp_ratio: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)

    def forward(self, tokens: Tensor) -> Tensor:  # [..., D] -> the same
        """Returns the transformed tokens."""
        output: Tensor = self.contract(F.gelu(self.expand(tokens)))
        return output


class SelfAttention(nn.Module):
    """Multi-head attention among the tokens of a sample."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor) -> Tensor:  # [B, T, D] -> the same
        """Returns for each token the mean of all values, weighted by attention."""
        batch, count, width = tokens.shape
        heads = (batch, count, self.num_heads, width // self.num_heads)
        # [B, T, 3 D] -> three of [B, M, T, D/M]; split before the heads, so that the gradients of
        # the three are joined where they lie.
        queries, keys, values = (
            part.view(heads).transpose(1, 2) for part in self.qkv(tokens).split(width, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, count, width))
        return output


class AttentionBlock(nn.Module):
    """Pre-norm transformer block: self-attention, then a feed-forward part."""

    def __init__(self, width: int, *, num_heads: int, mlp_ratio: float, drop_path: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.attention = SelfAttention(width, num_heads=num_heads)
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, mlp_ratio=mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, tokens: Tensor) -> Tensor:  # [B, T, D] -> the same
        """Returns the updated tokens."""
        tokens = tokens + self.drop_path(self.attention(self.attention_norm(tokens)))
        update = self.feed_forward(self.feed_forward_norm(tokens))
        output: Tensor = tokens + self.drop_path(update)
        return output


class DeformableBlock(nn.Module):
    """Each token of a level samples its own map around its joint, where the token says.

    Offsets pass through tanh, so a point may lie anywhere within half a crop of its joint. Values
    are projected after the weighted sum: weights sum to 1, so this equals projecting each sample.
    """

    def __init__(
        self,
        width: int,
        *,
        level_channels: Sequence[int],
        num_heads: int,
        num_points: int,
        mlp_ratio: float,
        drop_path: float,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_points = num_heads, num_points
        self.query_norm = nn.LayerNorm(width)
        self.sampling_offsets = nn.Linear(width, num_heads * num_points * 2)
        self.attention_weights = nn.Linear(width, num_heads * num_points)
        self.values = nn.ModuleList(
            nn.Linear(channels, width // num_heads) for channels in level_channels
        )
        self.feed_forward_norm = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, mlp_ratio=mlp_ratio)
        self.drop_path = DropPath(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts with equal weights and points on rays: head m at 2 pi m / M, point k at 0.01 k."""
        angles = torch.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        rays = torch.stack((angles.cos(), angles.sin()), dim=-1)  # [M, 2]
        rays = rays / rays.abs().amax(dim=-1, keepdim=True)  # onto the unit square
        radii = 0.01 * torch.arange(1, self.num_points + 1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_((rays[:, None] * radii[:, None]).flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(
        self,
        context: Tensor,  # [B, L, J, D]
        pose: Tensor,  # [B, 1, J, D]
        reference_points: Tensor,  # [B, J, 2] unit frame
        levels: Sequence[Tensor],  # L maps [B, H, W, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        shifts: Tensor | None = None,  # [B, L, J, 1, 1, 2] moves all points of a token
        visible: Tensor | None = None,  # [B, L, J, 1] 0 where the maps are hidden
    ) -> Tensor:  # [B, L, J, D]
        """Returns the updated context tokens."""
        offsets, weights = self.sampling(self.query_norm(context + pose))
        if shifts is not None:
            offsets = offsets + shifts
        # L of [B, J, M, C]
        sums = deform_sample(levels, reference_points, offsets, weights, scales=scales)
        # [B, J, M, D/M] per level, stacked and heads joined: [B, L, J, D]
        sampled = torch.stack(
            [value(each).flatten(2) for value, each in zip(self.values, sums, strict=True)], dim=1
        )
        if visible is not None:
            sampled = sampled * visible
        context = context + self.drop_path(sampled)
        update = self.feed_forward(self.feed_forward_norm(context))
        output: Tensor = context + self.drop_path(update)
        return output

    def sampling(self, queries: Tensor) -> tuple[Tensor, Tensor]:  # [B, L, J, D]
        """Returns offsets [B, L, J, M, K, 2] in the unit frame and weights [B, L, J, M, K]."""
        # In half precision a point is off by up to 0.19 crop px, hence no autocast here.
        with torch.autocast(queries.device.type, enabled=False):
            queries = queries.to(self.sampling_offsets.weight.dtype)
            shape = (*queries.shape[:3], self.num_heads, self.num_points)
            offsets = self.sampling_offsets(queries).view(*shape, 2).tanh()
            weights = self.attention_weights(queries).view(shape).softmax(dim=-1)
        return offsets, weights


class JointDecoder(nn.Module):
    """Attention among the joints of a sample, then a linear map to a position."""

    def __init__(
        self, width: int, *, depth: int, num_heads: int, mlp_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            AttentionBlock(width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate)
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width)
        self.position = nn.Linear(width, 3)

    def forward(self, joints: Tensor) -> Tensor:  # [B, J, D] -> [B, J, 3]
        """Returns a position per joint, in metres relative to the root joint."""
        for block in self.blocks:
            joints = block(joints)
        output: Tensor = self.position(self.norm(joints))
        return output
