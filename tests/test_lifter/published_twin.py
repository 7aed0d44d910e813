"""The published forward pass, written out plainly from its parameters by their published names.

Sampling is one grid_sample per level and block; every sample is projected, then averaged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

WIDTH, HEADS, POINTS, DEPTH, NUM_LEVELS = 128, 4, 4, 4, 4


def random_weights(level_channels: Sequence[int], *, joints: int = 17) -> dict[str, Tensor]:
    """Returns random weights under the names of the published state dict."""
    wide = WIDTH * (1 + NUM_LEVELS)
    shapes: dict[str, tuple[int, ...]] = {"Spatial_pos_embed": (1, 1 + NUM_LEVELS, joints, WIDTH)}

    def linear(name: str, inputs: int, outputs: int) -> None:
        shapes.update({f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)})

    def norm(name: str, width: int) -> None:
        shapes.update({f"{name}.weight": (width,), f"{name}.bias": (width,)})

    linear("coord_embed", 2, WIDTH)
    for level, channels in enumerate(level_channels):
        linear(f"feat_embed.{level}", channels, WIDTH)
    for index in range(DEPTH):
        for kind, width in (("context", WIDTH), ("res", WIDTH), ("joint", wide)):
            block = f"{kind}_blocks.{index}"
            norm(f"{block}.norm1", width)
            norm(f"{block}.norm2", width)
            linear(f"{block}.mlp.fc1", width, 2 * width)
            linear(f"{block}.mlp.fc2", 2 * width, width)
            if kind != "context":
                linear(f"{block}.attn.qkv", width, 3 * width)
                linear(f"{block}.attn.proj", width, width)
        block = f"context_blocks.{index}"
        linear(f"{block}.attention_weights", WIDTH, HEADS * POINTS)
        linear(f"{block}.sampling_offsets", WIDTH, HEADS * POINTS * 2)
        for level, channels in enumerate(level_channels):
            linear(f"{block}.embed_proj.{level}", channels, WIDTH // HEADS)
    norm("head.0", wide)
    linear("head.1", wide, 3)
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(shape, generator=generator)
        * (shape[-1] ** -0.5 if len(shape) > 1 else 0.3)
        for name, shape in shapes.items()
    }


def published_forward(
    weights: Mapping[str, Tensor],
    keypoints_2d: Tensor,  # [B, J, 2]
    reference_points: Tensor,  # [B, J, 2]
    maps: Sequence[Tensor],  # [B, C, H, W]
) -> Tensor:  # [B, J, 3]
    """Returns what the published network predicts in evaluation mode."""

    def linear(name: str, x: Tensor) -> Tensor:
        return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])

    def norm(name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(
            x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps
        )

    def feed_forward(block: str, x: Tensor) -> Tensor:
        return linear(f"{block}.mlp.fc2", F.gelu(linear(f"{block}.mlp.fc1", x)))

    def attend(block: str, x: Tensor) -> Tensor:
        width = x.shape[-1]
        rows = norm(f"{block}.norm1", x, 1e-6)
        parts = linear(f"{block}.attn.qkv", rows).split(width, dim=-1)
        query, key, value = (part.unflatten(-1, (8, width // 8)) for part in parts)
        scores = torch.einsum("btmd,bsmd->bmts", query, key) / (width // 8) ** 0.5
        mixed = torch.einsum("bmts,bsmd->btmd", scores.softmax(-1), value).flatten(2)
        x = x + linear(f"{block}.attn.proj", mixed)
        return x + feed_forward(block, norm(f"{block}.norm2", x, 1e-6))

    pose = linear("coord_embed", keypoints_2d)
    tokens = [
        linear(
            f"feat_embed.{level}",
            F.grid_sample(each, reference_points[:, None], align_corners=True)[:, :, 0].mT,
        )
        for level, each in enumerate(maps)
    ]
    x = torch.stack([pose, *tokens], dim=1) + weights["Spatial_pos_embed"]
    pose, context = x[:, :1], x[:, 1:]
    for index in range(DEPTH):
        block = f"context_blocks.{index}"
        query = norm(f"{block}.norm1", context + pose, 1e-5)
        sampled = []
        for level, each in enumerate(maps):
            offsets = linear(f"{block}.sampling_offsets", query[:, level]).tanh()
            shares = linear(f"{block}.attention_weights", query[:, level])
            shares = shares.unflatten(-1, (HEADS, POINTS)).softmax(-1)
            points = reference_points[:, :, None] + offsets.unflatten(-1, (HEADS * POINTS, 2))
            values = F.grid_sample(each, points, padding_mode="border", align_corners=True)
            values = linear(f"{block}.embed_proj.{level}", values.permute(0, 2, 3, 1))
            values = values.unflatten(2, (HEADS, POINTS)) * shares[..., None]
            sampled.append(values.sum(3).flatten(2))
        context = context + torch.stack(sampled, dim=1)
        context = context + feed_forward(block, norm(f"{block}.norm2", context, 1e-5))
    x = torch.cat((pose, context), dim=1)
    batch, count, joints, width = x.shape
    x = x.transpose(1, 2).reshape(batch * joints, count, width)
    for index in range(DEPTH):
        x = attend(f"res_blocks.{index}", x)
    x = x.reshape(batch, joints, count * width)
    for index in range(DEPTH):
        x = attend(f"joint_blocks.{index}", x)
    return linear("head.1", norm("head.0", x, 1e-5))
