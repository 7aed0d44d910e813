"""The published lifter, trainable: `F.grid_sample`, every sample projected, then averaged.

Its parameters have the published names, so that published weights load as they are. The letters of
the shapes are those of `lifter`, but maps are channels first here, [B, C, H, W], in any memory
format.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter.blocks import DropPath, drop_path_rates

WIDTH, HEADS, POINTS, DEPTH, MLP_RATIO, DROP_PATH = 128, 4, 4, 4, 2, 0.2
ATTENTION_HEADS = 8


class Mlp(nn.Module):
    """Linear, GELU, Linear."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, MLP_RATIO * width)
        self.fc2 = nn.Linear(MLP_RATIO * width, width)

    def forward(self, x: Tensor) -> Tensor:  # [..., D] -> the same
        """Returns the transformed tokens."""
        output: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return output


class Attention(nn.Module):
    """Self-attention among the tokens of a sample, in one fused call."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, D] -> the same
        """Returns the mixed tokens."""
        # [B, T, 3 D] -> three of [B, M, T, D / M]; split first, which copies least in the backward
        # pass.
        query, key, value = (
            part.unflatten(-1, (ATTENTION_HEADS, -1)).transpose(1, 2)
            for part in self.qkv(x).chunk(3, dim=-1)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        output: Tensor = self.proj(mixed.transpose(1, 2).flatten(2))
        return output


class TransformerBlock(nn.Module):
    """Attention, then an MLP, both pre-norm."""

    def __init__(self, width: int, *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # [B, T, D] -> the same
        """Returns the updated tokens."""
        x = x + self.drop_path(self.attn(self.norm1(x)))
        output: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return output


class ContextBlock(nn.Module):
    """Every level token reads its map at sixteen points around its joint."""

    def __init__(self, level_channels: Sequence[int], *, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(WIDTH)
        self.sampling_offsets = nn.Linear(WIDTH, HEADS * POINTS * 2)
        self.attention_weights = nn.Linear(WIDTH, HEADS * POINTS)
        self.embed_proj = nn.ModuleList(nn.Linear(c, WIDTH // HEADS) for c in level_channels)
        self.norm2 = nn.LayerNorm(WIDTH)
        self.mlp = Mlp(WIDTH)
        self.drop_path = DropPath(drop_path)
        self._reset_sampling()

    def _reset_sampling(self) -> None:
        for module in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(module.weight)
        nn.init.zeros_(self.attention_weights.bias)
        angles = 2 * math.pi / HEADS * torch.arange(HEADS)
        directions = torch.stack((angles.cos(), angles.sin()), dim=1)
        directions = directions / directions.abs().amax(dim=1, keepdim=True)
        steps = 0.01 * torch.arange(1, POINTS + 1)
        bias = torch.einsum("mx,k->mkx", directions, steps)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.reshape(-1))

    def forward(
        self,
        context: Tensor,  # [B, L, J, D]
        pose: Tensor,  # [B, 1, J, D]
        reference_points: Tensor,  # [B, J, 2]
        maps: Sequence[Tensor],  # L of [B, C, H, W]
    ) -> Tensor:  # [B, L, J, D]
        """Returns the updated level tokens."""
        query = self.norm1(context + pose)
        # Points stay float32 under autocast, as those of `capf` do.
        with torch.autocast(query.device.type, enabled=False):
            query = query.to(self.sampling_offsets.weight.dtype)
            offsets = self.sampling_offsets(query).tanh().unflatten(-1, (HEADS * POINTS, 2))
            points = reference_points[:, None, :, None] + offsets  # [B, L, J, M * K, 2]
            shares = self.attention_weights(query).unflatten(-1, (HEADS, POINTS)).softmax(-1)
        sampled = []
        for level, (each, project) in enumerate(zip(maps, self.embed_proj, strict=True)):
            values = grid_sample(each, points[:, level], padding="border")  # [B, J, M * K, C]
            values = project(values).unflatten(2, (HEADS, POINTS))  # [B, J, M, K, D / M]
            sampled.append((values * shares[:, level, ..., None]).sum(3).flatten(2))
        context = context + self.drop_path(torch.stack(sampled, dim=1))
        output: Tensor = context + self.drop_path(self.mlp(self.norm2(context)))
        return output


class PublishedLifter(nn.Module):
    """2D joints and the maps of a frozen network to 3D joints."""

    def __init__(self, level_channels: Sequence[int], *, joints: int = 17) -> None:
        super().__init__()
        num_tokens = 1 + len(level_channels)
        rates = drop_path_rates(DROP_PATH, DEPTH)
        wide = num_tokens * WIDTH
        self.coord_embed = nn.Linear(2, WIDTH)
        self.feat_embed = nn.ModuleList(nn.Linear(c, WIDTH) for c in level_channels)
        self.Spatial_pos_embed = nn.Parameter(torch.zeros(1, num_tokens, joints, WIDTH))
        self.context_blocks = nn.ModuleList(
            ContextBlock(level_channels, drop_path=rate) for rate in rates
        )
        self.res_blocks = nn.ModuleList(TransformerBlock(WIDTH, drop_path=rate) for rate in rates)
        self.joint_blocks = nn.ModuleList(TransformerBlock(wide, drop_path=rate) for rate in rates)
        self.head = nn.Sequential(nn.LayerNorm(wide), nn.Linear(wide, 3))

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised
        reference_points: Tensor,  # [B, J, 2] unit frame
        maps: Sequence[Tensor],  # L of [B, C, H, W] float
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres relative to the root."""
        tokens = [self.coord_embed(keypoints_2d)]
        for each, embed in zip(maps, self.feat_embed, strict=True):
            at_joints = grid_sample(each, reference_points[:, None], padding="zeros")[:, 0]
            tokens.append(embed(at_joints))
        x = torch.stack(tokens, dim=1) + self.Spatial_pos_embed  # [B, 1 + L, J, D]
        pose, context = x[:, :1], x[:, 1:]
        for block in self.context_blocks:
            context = block(context, pose, reference_points, maps)
        # The tokens of a joint see each other: [B * J, 1 + L, D]
        x = torch.cat((pose, context), dim=1).transpose(1, 2).flatten(0, 1)
        for block in self.res_blocks:
            x = block(x)
        x = x.reshape(len(keypoints_2d), -1, x.shape[1] * WIDTH)  # [B, J, (1 + L) * D]
        for block in self.joint_blocks:
            x = block(x)
        output: Tensor = self.head(x)
        return output


def grid_sample(
    level: Tensor,  # [B, C, H, W]
    points: Tensor,  # [B, P, Q, 2] float32
    *,
    padding: str,
) -> Tensor:  # [B, P, Q, C]
    """Returns what lies at the points; corners are aligned."""
    # It takes maps and points of one type only; half precision would move the points.
    values = F.grid_sample(level.float(), points, padding_mode=padding, align_corners=True)
    return values.permute(0, 2, 3, 1)
