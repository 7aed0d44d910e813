"""Random inputs of deform_sample, and the same sums by four calls of grid_sample."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SHAPES = ((7, 5, 3), (4, 6, 48), (1, 3, 2))  # H, W, C: odd, C = 48, one line


class Inputs(NamedTuple):
    levels: list[Tensor]
    reference_points: Tensor
    sampling_offsets: Tensor
    attention_weights: Tensor


def random_inputs(
    *,
    dtype: torch.dtype = torch.float32,
    batch: int = 2,
    joints: int = 17,
    heads: int = 2,
    points: int = 3,
    shapes: Sequence[tuple[int, int, int]] = SHAPES,
    spread: float = 1.5,
    seed: int = 0,
) -> Inputs:
    """Returns maps and points of which a part lies outside the maps (`spread` > 1)."""
    generator = torch.Generator().manual_seed(seed)
    grid = (batch, len(shapes), joints, heads, points)

    def uniform(*shape: int) -> Tensor:
        return (torch.rand(shape, generator=generator, dtype=dtype) * 2 - 1) * spread

    return Inputs(
        [torch.randn((batch, *shape), generator=generator, dtype=dtype) for shape in shapes],
        uniform(batch, joints, 2).requires_grad_(),
        (uniform(*grid, 2) / 3).requires_grad_(),
        torch.randn(grid, generator=generator, dtype=dtype).requires_grad_(),
    )


def by_grid_sample(inputs: Inputs, *, padding: str, align_corners: bool) -> list[Tensor]:
    """Returns what deform_sample returns, level by level and with every sample stored."""
    levels, reference_points, offsets, weights = inputs
    outputs = []
    for index, level in enumerate(levels):
        points = reference_points[:, :, None, None] + offsets[:, index]  # [B, J, M, K, 2]
        samples = F.grid_sample(
            level.permute(0, 3, 1, 2),
            points.flatten(2, 3),
            padding_mode=padding,
            align_corners=align_corners,
        ).unflatten(-1, points.shape[2:4])  # [B, C, J, M, K]
        outputs.append((samples * weights[:, None, index]).sum(-1).permute(0, 2, 3, 1))
    return outputs


def gradients(outputs: Sequence[Tensor], inputs: Inputs, *, seed: int = 1) -> list[Tensor]:
    """Returns the gradients of a random weighting of the outputs, for points, offsets, weights."""
    generator = torch.Generator().manual_seed(seed)
    seeds = [
        torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each.dtype)
        for each in outputs
    ]
    return list(torch.autograd.grad(list(outputs), list(inputs[1:]), seeds))
