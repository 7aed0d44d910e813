"""Layers in which anchors look at depths, at each other, and at features lifted into space."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter.blocks import NORM_EPS, DropPath, FeedForward, SelfAttention
from lifter.depth_context import Depths
from lifter.ops import deform_sample


class Scene(NamedTuple):
    """What anchors look at, the same in all layers.

    F_3D = Dist (x) F_I is kept as its factors: the product is never stored.
    """

    anchors_m: Tensor  # [B, A, 3]
    points: Tensor  # [B, A, 2] where they lie on the maps, unit frame
    levels: Sequence[Tensor]  # L maps [B, H, W, C], frozen
    scales: Sequence[Tensor] | None  # per level [C], of 8-bit maps
    depths: Depths | None  # None: features lie in a plane


class CrossAttention(nn.Module):
    """Multi-head attention of some tokens to others."""

    def __init__(self, width: int, *, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens: Tensor, others: Tensor) -> Tensor:  # [B, T, D], [B, S, D]
        """Returns for each token [B, T, D] the mean of all values, weighted by attention."""
        queries, keys, values = (
            # [B, T, D] -> [B, M, T, D/M]
            part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for part in (self.query(tokens), *self.key_value(others).chunk(2, dim=-1))
        )
        mixed = F.scaled_dot_product_attention(queries, keys, values)
        output: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return output


class DeformableAttention3d(nn.Module):
    """DCA(a) = sum_n W_n phi(F_3D, P_a + dS_n): each anchor samples where its query says.

    A sample is the bilinear sample of the features times the sample of the depth distribution at
    the same point and its depth, relative to a uniform distribution: where nothing is known of the
    depth, it is the sample of the features alone. The factor is a number per sample, so it joins
    the weights of `deform_sample`, and values are projected after the sum, without a bias.
    """

    def __init__(
        self,
        width: int,
        *,
        level_channels: Sequence[int],
        num_heads: int,
        num_points: int,
        with_depth: bool,
    ) -> None:
        super().__init__()
        self.num_heads, self.num_points = num_heads, num_points
        self.num_axes = 3 if with_depth else 2
        self.sampling_offsets = nn.Linear(width, num_heads * num_points * self.num_axes)
        self.attention_weights = nn.Linear(width, num_heads * num_points * len(level_channels))
        self.values = nn.ModuleList(
            nn.Linear(channels, width // num_heads, bias=False) for channels in level_channels
        )
        self.out = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Starts with equal weights and points on rays: head m at 2 pi m / M, point k at 0.05 k.

        In depth, the points of a head start evenly spread over half of the range.
        """
        angles = torch.arange(self.num_heads) * (2.0 * math.pi / self.num_heads)
        radii = 0.05 * torch.arange(1, self.num_points + 1)
        start = torch.zeros(self.num_heads, self.num_points, self.num_axes)
        start[..., 0] = angles.cos()[:, None] * radii
        start[..., 1] = angles.sin()[:, None] * radii
        if self.num_axes == 3 and self.num_points > 1:
            start[..., 2] = torch.linspace(-0.5, 0.5, self.num_points)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(start.flatten())
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)

    def forward(
        self,
        queries: Tensor,  # [B, A, D]
        scene: Scene,
    ) -> Tensor:  # [B, A, D]
        """Returns what the anchors found."""
        offsets, weights = self.sampling(queries)
        if scene.depths is not None:
            weights = weights * depth_factors(scene, scene.depths, offsets)[:, None]
        plane = offsets[:, None, ..., :2].expand(*weights.shape, 2)  # the same on all levels
        sums = deform_sample(scene.levels, scene.points, plane, weights, scales=scene.scales)
        # Sum over levels of [B, A, M, D/M], heads joined: [B, A, D]
        found = torch.stack([value(each) for value, each in zip(self.values, sums, strict=True)])
        output: Tensor = self.out(found.sum(dim=0).flatten(2))
        return output

    def sampling(self, queries: Tensor) -> tuple[Tensor, Tensor]:  # [B, A, D]
        """Returns offsets [B, A, M, K, axes] and weights [B, L, A, M, K] that sum to 1 over L, K.

        Offsets are in the unit frame of the crop and, in depth, in units of the range of the bins.
        """
        # In half precision a point is off by up to 0.19 crop px, hence no autocast here.
        with torch.autocast(queries.device.type, enabled=False):
            queries = queries.to(self.sampling_offsets.weight.dtype)
            heads = (self.num_heads, self.num_points)
            offsets = self.sampling_offsets(queries).unflatten(-1, (*heads, self.num_axes)).tanh()
            logits = self.attention_weights(queries).unflatten(-1, (self.num_heads, -1))
            # [B, A, M, L K] -> [B, A, M, L, K] -> [B, L, A, M, K]
            weights = logits.softmax(dim=-1).unflatten(-1, (-1, self.num_points))
        return offsets, weights.movedim(3, 1)


def depth_factors(
    scene: Scene,
    depths: Depths,
    offsets: Tensor,  # [B, A, M, K, 3] of x and y in the unit frame, of z in ranges of the bins
) -> Tensor:  # [B, A, M, K]
    """Returns the depth distributions at the samples, relative to a uniform distribution."""
    places = scene.points[:, :, None, None] + offsets[..., :2]
    depths_m = scene.anchors_m[:, :, None, None, 2] + depths.range_m * offsets[..., 2]
    # [B, A, M, K] -> [B, A, M K] -> [B, A, M, K]
    return depths.at(places.flatten(2, 3), depths_m.flatten(2)).view(depths_m.shape)


class AnchorLayer(nn.Module):
    """Attention of anchors to depths, among anchors, and to features in space; feed-forward part.

    Pre-norm, each with a residual.
    """

    def __init__(
        self,
        width: int,
        *,
        level_channels: Sequence[int],
        num_heads: int,
        deform_heads: int,
        num_points: int,
        mlp_ratio: float,
        drop_path: float,
        with_depth: bool,
    ) -> None:
        super().__init__()
        self.depth_norm = nn.LayerNorm(width, eps=NORM_EPS) if with_depth else None
        self.depth_attention = CrossAttention(width, num_heads=num_heads) if with_depth else None
        self.anchor_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.anchor_attention = SelfAttention(width, num_heads=num_heads)
        self.feature_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feature_attention = DeformableAttention3d(
            width,
            level_channels=level_channels,
            num_heads=deform_heads,
            num_points=num_points,
            with_depth=with_depth,
        )
        self.feed_forward_norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.feed_forward = FeedForward(width, mlp_ratio=mlp_ratio)
        self.drop_path = DropPath(drop_path)

    def forward(self, queries: Tensor, scene: Scene) -> Tensor:  # [B, A, D] -> the same
        """Returns the updated queries."""
        if self.depth_attention is not None and self.depth_norm is not None:
            assert scene.depths is not None
            update = self.depth_attention(self.depth_norm(queries), scene.depths.tokens)
            queries = queries + self.drop_path(update)
        queries = queries + self.drop_path(self.anchor_attention(self.anchor_norm(queries)))
        update = self.feature_attention(self.feature_norm(queries), scene)
        queries = queries + self.drop_path(update)
        update = self.feed_forward(self.feed_forward_norm(queries))
        output: Tensor = queries + self.drop_path(update)
        return output
