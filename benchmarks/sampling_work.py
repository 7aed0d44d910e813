"""The sampling of one context block on a device, and the ways to do it on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from benchmarks.published.lifter import grid_sample
from lifter.ops import deform_sample, gpu

try:
    from mmcv.ops import MultiScaleDeformableAttnFunction
except ImportError:  # not installed, or mmcv-lite, which has no kernels
    MultiScaleDeformableAttnFunction = None

SIZES = ((64, 48), (32, 24), (16, 12), (8, 6))
CHANNELS = (32, 64, 128, 256)  # HRNet-W32
JOINTS, HEADS, POINTS, HEAD_WIDTH = 17, 4, 4, 32
PUBLISHED = ("published, float32", "published, float16")
OURS = ("triton, float16", "triton, bfloat16", "triton, uint8")
MMCV, PROJECTED = "mmcv ms_deform_attn, float32", "triton, float32 values"
Way = Callable[[], Tensor]


class Work:
    """The sampling of one context block on one batch of maps, on a device."""

    def __init__(
        self,
        batch: int,
        device: torch.device,
        *,
        seed: int = 0,
        sizes: Sequence[tuple[int, int]] = SIZES,
        channels: Sequence[int] = CHANNELS,
    ) -> None:
        generator = torch.Generator(device).manual_seed(seed)
        there = {"device": device, "generator": generator}
        shape = (batch, len(sizes), JOINTS, HEADS, POINTS)
        self.halves = [  # [B, H, W, C], not negative, as behind a ReLU
            torch.randn(batch, *size, width, **there).abs().half()
            for size, width in zip(sizes, channels, strict=True)
        ]
        self.bfloats = [level.bfloat16() for level in self.halves]
        self.codes = [(level * 50).clamp(0, 255).to(torch.uint8) for level in self.halves]
        self.scales = [torch.full((width,), 1 / 50, device=device) for width in channels]
        # [B, C, H, W]
        self.first = [level.float().permute(0, 3, 1, 2).contiguous() for level in self.halves]
        self.half_first = [level.half() for level in self.first]
        self.reference_points = torch.rand(batch, JOINTS, 2, **there) * 1.6 - 0.8
        self.offsets = (torch.randn(*shape, 2, **there) * 0.1).requires_grad_()
        self.weights = torch.rand(shape, **there).softmax(-1).requires_grad_()
        torch.manual_seed(seed)
        self.project = nn.ModuleList(nn.Linear(width, HEAD_WIDTH) for width in channels).to(device)
        self.values = [torch.randn(batch, *size, HEAD_WIDTH, **there) for size in sizes]

    def sums(self, levels: list[Tensor], backend: str, *, scaled: bool = False) -> list[Tensor]:
        """Sums of the op, per level."""
        points = (self.reference_points, self.offsets, self.weights)
        return deform_sample(
            levels, *points, scales=self.scales if scaled else None, backend=backend
        )

    def fused(self, levels: list[Tensor], backend: str, *, scaled: bool = False) -> Tensor:
        """Sums in the op, then projects: [B, L, J, D]."""
        sums = self.sums(levels, backend, scaled=scaled)
        projected = [value(each) for value, each in zip(self.project, sums, strict=True)]
        return torch.stack(projected, dim=1).flatten(-2)

    def published(self, maps: list[Tensor]) -> Tensor:
        """Samples every point of every level, projects each sample, then averages: as `fused`."""
        sampled = []
        for index, (level, value) in enumerate(zip(maps, self.project, strict=True)):
            points = self.reference_points[:, :, None] + self.offsets[:, index].flatten(2, 3)
            if level.dtype == torch.float32:
                samples = grid_sample(level, points, padding="border")
            else:  # all in half precision, which grid_sample and the projection then need
                samples = nn.functional.grid_sample(
                    level, points.to(level.dtype), padding_mode="border", align_corners=True
                ).permute(0, 2, 3, 1)
            weight, bias = value.weight.to(level.dtype), value.bias.to(level.dtype)
            values = nn.functional.linear(samples, weight, bias).unflatten(2, (HEADS, POINTS))
            shares = self.weights[:, index, ..., None].to(level.dtype)
            sampled.append((values * shares).sum(3).flatten(2))
        return torch.stack(sampled, dim=1)

    def on_values(self, backend: str) -> Tensor:
        """Sums of the projected values over levels too, as mmcv does: [B, J, M * 32]."""
        points = (self.reference_points, self.offsets, self.weights)
        sums = deform_sample(
            self.values, *points, padding="zeros", align_corners=False, backend=backend
        )
        return torch.stack(sums).sum(0).flatten(-2)

    def prepare_mmcv(self) -> Callable[[], Tensor]:
        """The same sums by mmcv; every head is given the values, which its kernel wants apart."""
        device = self.offsets.device
        flat = torch.cat([level.flatten(1, 2) for level in self.values], dim=1)  # [B, S, 32]
        values = flat[:, :, None].expand(-1, -1, HEADS, -1).contiguous()
        sizes = torch.tensor([level.shape[1:3] for level in self.values], device=device)
        starts = torch.cat((sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]))
        step = min(len(values), 64)

        def call() -> Tensor:
            points = self.reference_points[:, None, :, None, None] + self.offsets
            places = ((points + 1) / 2).permute(0, 2, 3, 1, 4, 5).contiguous()
            shares = self.weights.permute(0, 2, 3, 1, 4).contiguous()
            return MultiScaleDeformableAttnFunction.apply(
                values, sizes, starts, places, shares, step
            )

        return call


def ways(work: Work) -> dict[str, Way]:
    """Every way to sample and project, by name; each gives [B, L, J, D]."""
    found: dict[str, Way] = {
        PUBLISHED[0]: lambda: work.published(work.first),
        PUBLISHED[1]: lambda: work.published(work.half_first),
        "reference, float16": lambda: work.fused(work.halves, "reference"),
    }
    if gpu.serves(work.halves, work.reference_points):
        found[OURS[0]] = lambda: work.fused(work.halves, "triton")
        found[OURS[1]] = lambda: work.fused(work.bfloats, "triton")
        found[OURS[2]] = lambda: work.fused(work.codes, "triton", scaled=True)
    return found


def value_ways(work: Work) -> dict[str, Way]:
    """Every way to sum projected values, by name; each gives [B, J, M * 32]."""
    found: dict[str, Way] = {}
    if gpu.serves(work.values, work.reference_points):
        found[PROJECTED] = lambda: work.on_values("triton")
    if MultiScaleDeformableAttnFunction is not None and work.offsets.is_cuda:
        found[MMCV] = work.prepare_mmcv()
    return found


def touched_cells(work: Work) -> list[int]:
    """How many cells of each level are a corner of some point."""
    counts = []
    for index, level in enumerate(work.halves):
        batch, height, width, _ = level.shape
        points = work.reference_points[:, :, None, None] + work.offsets[:, index].detach()
        size = torch.tensor([width, height], device=points.device)
        cells = ((points + 1) * (size - 1) / 2).clamp(torch.zeros_like(size), size - 1)
        first = cells.floor().long()
        beyond = torch.minimum(first + 1, size - 1)
        starts = torch.arange(batch, device=points.device).view(-1, 1, 1, 1) * height
        corners = [
            (starts + y) * width + x
            for y in (first[..., 1], beyond[..., 1])
            for x in (first[..., 0], beyond[..., 0])
        ]
        counts.append(int(torch.stack(corners).unique().numel()))
    return counts


def moved_bytes(work: Work, levels: list[Tensor]) -> tuple[int, int]:
    """Bytes that the forward and the backward pass of the op must move."""
    rows = work.weights.numel() // (work.weights.shape[1] * POINTS)
    maps = sum(
        cells * level.shape[-1] * level.element_size()
        for cells, level in zip(touched_cells(work), levels, strict=True)
    )
    sums = 4 * rows * sum(level.shape[-1] for level in levels)
    points = 4 * (work.offsets.numel() + work.weights.numel())
    forward = maps + sums + points + 4 * work.reference_points.numel()
    return forward, forward + points
