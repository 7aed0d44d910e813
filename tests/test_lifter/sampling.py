"""Inputs of deform_sample, the same sums by other means, and how to compare them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifter.ops.cpu import is_built

SHAPES = ((7, 5, 3), (4, 6, 48), (1, 3, 2))  # H, W, C: odd, C = 48, one line
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8)

NO_KERNEL = "the C kernel was not built at installation"
both_paddings = pytest.mark.parametrize("padding", ["border", "zeros"])
both_corners = pytest.mark.parametrize("align_corners", [True, False])
both_backends = pytest.mark.parametrize(
    "backend",
    ["reference", pytest.param("cpu", marks=pytest.mark.skipif(not is_built(), reason=NO_KERNEL))],
)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: str(dtype)[6:])


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


def stored_as(inputs: Inputs, dtype: torch.dtype) -> tuple[Inputs, list[Tensor] | None]:
    """Returns the inputs with maps of `dtype`, and the scales that 8-bit codes need."""
    if dtype.is_floating_point:
        return inputs._replace(levels=[level.to(dtype) for level in inputs.levels]), None
    low, high = (0, 255) if dtype == torch.uint8 else (-128, 127)
    codes = [(level * 50).clamp(low, high).to(dtype) for level in inputs.levels]
    scales = [torch.linspace(0.01, 0.1, level.shape[-1]) for level in inputs.levels]
    return inputs._replace(levels=codes), scales


def in_double(inputs: Inputs, scales: Sequence[Tensor] | None = None) -> Inputs:
    """Returns the same numbers in float64, scales multiplied in; points are new leaves."""
    levels = [level.double() for level in inputs.levels]
    if scales:
        levels = [level * scale.double() for level, scale in zip(levels, scales, strict=True)]
    return Inputs(levels, *(each.detach().double().requires_grad_() for each in inputs[1:]))


def clear_of_borders(inputs: Inputs, *, align_corners: bool) -> Inputs:
    """Returns the inputs with each point moved into the middle 80 % between two cell centres.

    On a centre the slope jumps, and float32 may take the other side's.
    """
    levels, reference_points, offsets, weights = inputs
    moved = offsets.detach().clone()
    for index, level in enumerate(levels):
        size = torch.tensor([level.shape[2], level.shape[1]], dtype=torch.float64)
        step = (size - 1) / 2 if align_corners else size / 2
        shift = 0.0 if align_corners else 0.5
        points = reference_points[:, :, None, None].double() + offsets[:, index].double()
        cells = (points + 1) * step - shift
        wanted = cells.floor() + 0.1 + 0.8 * (cells - cells.floor())
        moved[:, index] += ((wanted - cells) / step.clamp(min=0.5)).detach().to(moved.dtype)
    return Inputs(levels, reference_points, moved.requires_grad_(), weights)


def by_grid_sample(inputs: Inputs, *, padding: str, align_corners: bool) -> list[Tensor]:
    """Returns what deform_sample returns, level by level and with every sample stored."""
    return [
        (samples * weights[..., None]).sum(-2)
        for samples, weights in _stored_samples(inputs, padding, align_corners)
    ]


def project_then_average(
    inputs: Inputs, projections: Sequence[torch.nn.Linear], *, padding: str, align_corners: bool
) -> list[Tensor]:
    """Returns L tensors [B, J, M, D] as published: each sample is projected, then averaged."""
    return [
        (project(samples) * weights[..., None]).sum(-2)
        for (samples, weights), project in zip(
            _stored_samples(inputs, padding, align_corners), projections, strict=True
        )
    ]


def _stored_samples(
    inputs: Inputs, padding: str, align_corners: bool
) -> list[tuple[Tensor, Tensor]]:  # per level samples [B, J, M, K, C], weights [B, J, M, K]
    levels, reference_points, offsets, weights = inputs
    pairs = []
    for index, level in enumerate(levels):
        points = reference_points[:, :, None, None] + offsets[:, index]  # [B, J, M, K, 2]
        points = points.clamp(-1e30, 1e30)  # grid_sample makes NaN of infinite points
        samples = F.grid_sample(
            level.permute(0, 3, 1, 2),
            points.flatten(2, 3),
            padding_mode=padding,
            align_corners=align_corners,
        )  # [B, C, J, M * K]
        samples = samples.permute(0, 2, 3, 1).unflatten(2, points.shape[2:4])
        pairs.append((samples, weights[:, index]))
    return pairs


def gradients(outputs: Sequence[Tensor], inputs: Inputs, *, seed: int = 1) -> list[Tensor]:
    """Returns the gradients of a random weighting of the outputs, for points, offsets, weights."""
    generator = torch.Generator().manual_seed(seed)
    seeds = [
        torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each.dtype)
        for each in outputs
    ]
    return list(torch.autograd.grad(list(outputs), list(inputs[1:]), seeds))


def assert_as_accurate(
    found: Sequence[Tensor],
    baseline: Sequence[Tensor],
    exact: Sequence[Tensor],
    *,
    slack: float = 1e-6,
) -> None:
    """Fails where `found` is more than twice as far from `exact` as `baseline` is.

    Distances are the largest of a tensor; `slack` of its largest number is granted besides.
    """
    assert len(found) == len(baseline) == len(exact)
    for index, (ours, theirs, true) in enumerate(zip(found, baseline, exact, strict=True)):
        assert ours.shape == theirs.shape == true.shape
        assert ours.isfinite().all(), f"tensor {index} is not finite"
        if not true.numel():
            continue
        true = true.detach()
        off, allowed = (float((each.detach() - true).abs().max()) for each in (ours, theirs))
        size = float(true.abs().max())
        assert off <= 2 * allowed + slack * size, (
            f"tensor {index} is off by {off:.2e}, the baseline by {allowed:.2e}, of {size:.2e}"
        )
