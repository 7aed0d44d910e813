"""Distributions of depth over bins: the net that finds them, their loss, their sampling.

Depths are metres relative to the root joint. `N` bins of equal size span [-range, range]; bin k is
centred at range * ((2 k + 1) / N - 1). `G` distributions lie at each cell that has any.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DepthMaps(NamedTuple):
    """G maps of distributions per sample, each of a window of h x w cells of a level."""

    values: Tensor  # [B, G, h, w, N] logits or probabilities
    corners: Tensor  # [B, G, 2] int64, first column and row of each window
    size: tuple[int, int]  # (H, W) of the level

    def probabilities(self, dtype: torch.dtype) -> DepthMaps:
        """Returns the distributions of these logits."""
        return self._replace(values=self.values.softmax(dim=-1, dtype=dtype))


class DepthNet(nn.Module):
    """1 x 1, GELU, 3 x 3, GELU on a level; then linear maps to logits.

    Those of a joint are computed in the cells around the joint only, and those of all joints
    everywhere. A kind that is not needed has no parameters.
    """

    def __init__(
        self, channels: int, width: int, *, num_joints: int, num_bins: int, own: bool, shared: bool
    ) -> None:
        super().__init__()
        self.reduce = nn.Linear(channels, width)
        self.mix = nn.Conv2d(width, width, kernel_size=3, padding=1)
        self.own = nn.Linear(width, num_joints * num_bins) if own else None
        self.shared = nn.Linear(width, num_bins) if shared else None

    def forward(
        self,
        level: Tensor,  # [B, H, W, C] float
        reference_points: Tensor,  # [B, J, 2] unit frame
        window: int | None,  # cells; None: all of the level
    ) -> tuple[DepthMaps | None, DepthMaps | None]:
        """Returns the logits of the joints, G = J, and those for all of them, G = 1."""
        size = (level.shape[1], level.shape[2])
        hidden = F.gelu(self.reduce(level)).permute(0, 3, 1, 2)  # [B, D, H, W]
        hidden = F.gelu(self.mix(hidden)).permute(0, 2, 3, 1)
        own = shared = None
        if self.own is not None:
            corners, sides = windows_around(reference_points, size, window)
            cells = _cells_of_windows(hidden, corners, sides)  # [B, J, h, w, D]
            joints = cells.shape[1]
            # One linear map per joint: [J, B h w, D] @ [J, D, N] -> [B, J, h, w, N]
            each = cells.transpose(0, 1).flatten(1, 3)
            weight = self.own.weight.view(joints, -1, each.shape[-1]).transpose(1, 2)
            bias = self.own.bias.view(joints, 1, -1)
            logits = (each @ weight + bias).view(joints, level.shape[0], *sides, -1).transpose(0, 1)
            own = DepthMaps(logits, corners, size)
        if self.shared is not None:
            start = torch.zeros((level.shape[0], 1, 2), dtype=torch.int64, device=level.device)
            shared = DepthMaps(self.shared(hidden)[:, None], start, size)
        return own, shared


def windows_around(
    reference_points: Tensor,  # [B, J, 2] unit frame
    size: tuple[int, int],  # (H, W)
    window: int | None,
) -> tuple[Tensor, tuple[int, int]]:
    """Returns the first cells [B, J, 2] and the sides (h, w) of windows around joints.

    Windows lie inside the level: at its border the joint is not in their middle.
    """
    sides = size if window is None else (min(window, size[0]), min(window, size[1]))
    cells = nearest_cells(reference_points, size)
    column, row = (
        (cells[..., axis] - side // 2).clamp(0, full - side)
        for axis, side, full in ((0, sides[1], size[1]), (1, sides[0], size[0]))
    )
    return torch.stack((column, row), dim=-1), sides


def nearest_cells(reference_points: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns column and row [B, J, 2] int64 of the cells nearest to the points [B, J, 2]."""
    columns, rows = (
        ((reference_points[..., axis] + 1) * ((cells - 1) / 2)).round().clamp(0, cells - 1).long()
        for axis, cells in ((0, size[1]), (1, size[0]))
    )
    return torch.stack((columns, rows), dim=-1)


def at_joints(maps: DepthMaps, reference_points: Tensor) -> Tensor:  # [B, J, 2] -> [B, J, N]
    """Returns what the map of each joint, or the only one, has at the joint's nearest cell.

    A joint outside the crop takes the nearest cell of the border.
    """
    groups, _, width, num_bins = maps.values.shape[1:]
    column, row = (nearest_cells(reference_points, maps.size) - maps.corners).unbind(-1)
    # [B, J] -> [B, G, J / G, N]; not an index of joints, the gradient of which, where joints share
    # a cell, is summed in the order in which threads come by
    cells = torch.unflatten(row * width + column, 1, (groups, -1))[..., None]
    cells = cells.expand(-1, -1, -1, num_bins)
    return maps.values.flatten(2, 3).gather(2, cells).flatten(1, 2)


def depth_bins(depths_m: Tensor, *, num_bins: int, range_m: float) -> Tensor:  # [...] int64
    """Returns the bin of each depth; depths beyond the range are in the first or last bin."""
    bins = (depths_m + range_m) * (num_bins / (2 * range_m))
    return bins.floor().clamp(0, num_bins - 1).long()


def ordinal_loss(
    logits: Tensor,  # [B, J, N]
    bins: Tensor,  # [B, J] int64
    valid: Tensor | None = None,  # [B, J] bool; None: all joints count
) -> Tensor:  # scalar
    """Returns the mean over joints of -(sum_{k<l} log P0_k + sum_{k>=l} log P1_k), l the true bin.

    P1_k is the probability that the depth is in bin k or before, P0_k that it is beyond: the sums
    of the softmax over the bins up to k, and after k. Without a valid joint the loss is 0.
    """
    log_probabilities = logits.log_softmax(dim=-1)
    # Of the last bin P1 is 1, and it is never k < l: it adds nothing.
    until = log_probabilities.logcumsumexp(dim=-1)[..., :-1]
    beyond = log_probabilities.flip(-1).logcumsumexp(dim=-1).flip(-1)[..., 1:]
    before_true = torch.arange(until.shape[-1], device=logits.device) < bins[..., None]
    losses = -torch.where(before_true, beyond, until).sum(dim=-1)
    if valid is None:
        return losses.mean()
    total: Tensor = (losses * valid).sum()
    return total / valid.sum().clamp(min=1)


def sample_distributions(
    maps: DepthMaps,
    groups: Tensor,  # [A] int64, which of the G an anchor reads
    points: Tensor,  # [B, A, S, 2] unit frame
    depths_m: Tensor,  # [B, A, S]
    *,
    range_m: float,
) -> Tensor:  # [B, A, S]
    """Returns the maps at points in space: bilinear in the plane, linear between bin centres.

    As in `deform_sample`, -1 and 1 are the centres of the outermost cells. Outside of a window, and
    beyond the centres of the outermost bins, the nearest is repeated. Gradients flow to the values,
    the points and the depths; those of the values are summed in no fixed order on a GPU.
    """
    values = maps.values
    batch, num_groups, height, width, num_bins = values.shape
    corners = maps.corners[:, groups, None].to(points.dtype)  # [B, A, 1, 2]
    columns, rows = (
        (points[..., axis] + 1) * ((cells - 1) / 2) - corners[..., axis]
        for axis, cells in ((0, maps.size[1]), (1, maps.size[0]))
    )
    bins = (depths_m / range_m + 1) * (num_bins / 2) - 0.5
    samples = torch.arange(batch, device=values.device) * num_groups
    index = (samples[:, None, None] + groups[:, None]) * (height * width * num_bins)
    index, weights = index[..., None], points.new_ones(())  # [B, A, 1, 1]
    for position, size, stride in (
        (rows, height, width * num_bins),
        (columns, width, num_bins),
        (bins, num_bins, 1),
    ):
        held = position.clamp(0, size - 1)
        first = held.detach().floor().clamp(max=max(size - 2, 0))
        far = (held - first)[..., None]  # [B, A, S, 1]
        start = index + first.long()[..., None] * stride
        # The corners double with every axis: [B, A, S, 2], 4, 8.
        index = torch.cat((start, start + (stride if size > 1 else 0)), dim=-1)
        weights = torch.cat((weights * (1 - far), weights * far), dim=-1)
    found = values.flatten().gather(0, index.flatten()).view(index.shape)
    return (found * weights).sum(dim=-1)


def _cells_of_windows(hidden: Tensor, corners: Tensor, sides: tuple[int, int]) -> Tensor:
    """Returns of [B, H, W, D] the windows [B, J, h, w, D] whose first cells are given."""
    batch, height, width, _ = hidden.shape
    device = hidden.device
    rows = corners[..., 1, None] + torch.arange(sides[0], device=device)  # [B, J, h]
    columns = corners[..., 0, None] + torch.arange(sides[1], device=device)  # [B, J, w]
    starts = torch.arange(batch, device=device)[:, None, None] * height
    cells = (starts + rows)[..., None] * width + columns[:, :, None]  # [B, J, h, w]
    return F.embedding(cells, hidden.reshape(batch * height * width, -1))
