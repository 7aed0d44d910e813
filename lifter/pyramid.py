"""From feature maps to tokens: what each level shows at each joint."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lifter.errors import SamplingError
from lifter.ops import deform_sample

POINT_AXES = 3


class PyramidEmbedding(nn.Module):
    """Reads every level at the joints and projects what it finds to tokens.

    Levels are maps [B, H, W, C], or what somebody read in maps at the same joints before, [B, J, C]
    (a point cache). Tokens are the same from either, bit for bit where the latter are float32.
    """

    def __init__(self, width: int, *, level_channels: Sequence[int]) -> None:
        super().__init__()
        self.level_channels = tuple(level_channels)
        self.projections = nn.ModuleList(
            nn.Linear(channels, width) for channels in self.level_channels
        )

    def forward(
        self,
        reference_points: Tensor,  # [B, J, 2] unit frame
        levels: Sequence[Tensor],  # L maps [B, H, W, C], or L points [B, J, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        shifts: Tensor | None = None,  # [B, L, J, 1, 1, 2], of maps
    ) -> Tensor:  # [B, L, J, D]
        """Returns one token per level and joint; joints outside the crop read zeros."""
        if are_points(levels):
            seen = _read_points(levels, reference_points, scales)
        else:
            seen = sample_joints(reference_points, levels, scales=scales, shifts=shifts)
        return torch.stack(
            [projection(each) for projection, each in zip(self.projections, seen, strict=True)],
            dim=1,
        )

    def check(self, levels: Sequence[Tensor] | None) -> Sequence[Tensor]:
        """Returns the maps if they are those this lifter was built for; raises SamplingError."""
        channels = None if levels is None else tuple(level.shape[-1] for level in levels)
        if levels is None or channels != self.level_channels:
            raise SamplingError(
                f"levels must be {len(self.level_channels)} maps [B, H, W, C] with the channels "
                f"{self.level_channels}, got {channels}. Build the lifter with these "
                "level_channels, or read the levels it was built for, in its order."
            )
        return levels


def are_points(levels: Sequence[Tensor]) -> bool:
    """Returns whether these are maps that were read at the joints already, [B, J, C]."""
    return all(level.ndim == POINT_AXES for level in levels)


def sample_joints(
    reference_points: Tensor,  # [B, J, 2] unit frame
    levels: Sequence[Tensor],  # L maps [B, H, W, C]
    *,
    scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
    shifts: Tensor | None = None,  # [B, L, J, 1, 1, 2]
) -> list[Tensor]:  # L of [B, J, C], float32
    """Returns what each level shows at each joint, bilinearly; zeros outside the map."""
    batch, joints, _ = reference_points.shape
    shape = (batch, len(levels), joints, 1, 1)
    sums = deform_sample(
        levels,
        reference_points,
        reference_points.new_zeros((*shape, 2)) if shifts is None else shifts,
        reference_points.new_ones(shape),
        scales=scales,
        padding="zeros",
    )
    return [level_sum.squeeze(2) for level_sum in sums]  # from [B, J, 1, C]


def _read_points(
    levels: Sequence[Tensor],  # L of [B, J, C]
    reference_points: Tensor,  # [B, J, 2]
    scales: Sequence[Tensor] | None,
) -> list[Tensor]:
    """Returns the points as `sample_joints` does; raises `SamplingError` for other joints."""
    for index, level in enumerate(levels):
        if level.shape[:2] != reference_points.shape[:2]:
            raise SamplingError(
                f"levels[{index}] must hold [B, J, C] of the {tuple(reference_points.shape[:2])} "
                f"samples and joints of reference_points, got {tuple(level.shape)}."
            )
    seen = [level.to(reference_points.dtype) for level in levels]
    if scales is not None:
        seen = [each * scale for each, scale in zip(seen, scales, strict=True)]
    return seen


def geometric_shifts(
    reference_points: Tensor,  # [B, J, 2] crop px / (crop size / 2) - 1
    levels: Sequence[Tensor],  # L maps [B, H, W, C]
) -> Tensor:  # [B, L, J, 1, 1, 2]
    """Returns what to add to the points so that level l is read at cell = crop px / stride.

    Cell c of a strided network is centred on crop px stride * c, and the crop is stride * W px
    wide: cell = (x + 1) * W / 2, which in the frame of the op (-1 and 1 on the outermost cells) is
    x' = (x + 1) * W / (W - 1) - 1.
    """
    # Axis by axis with plain numbers: a tensor of two would be sent to the device, and waited for.
    x, y = (reference_points + 1).unbind(-1)
    shifts = [
        torch.stack((x / max(level.shape[2] - 1, 1), y / max(level.shape[1] - 1, 1)), dim=-1)
        for level in levels
    ]
    return torch.stack(shifts, dim=1)[:, :, :, None, None]
