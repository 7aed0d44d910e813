"""deform_sample in plain PyTorch: the specification of every faster implementation.

For level l, sample b, joint j, head m, with p_k = reference[b, j] + offset[b, l, j, m, k]:

    out_l[b, j, m, :] = scale_l * sum_k weight[b, l, j, m, k] * bilinear(level_l[b], p_k)

Each bilinear sample is a weighted sum of four rows of the table [B * H * W, C], so the whole is a
weighted sum of K * 4 rows. `embedding_bag` computes it without storing the gathered rows. The
gradient of every coefficient is the dot product of its row with the gradient of the sum, which is
`sampled_addmm`; the maps are frozen, hence nothing is scattered.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class _Axis:
    """Two neighbouring cells of one axis of a map, per sampling point; tensors are [B, J, M, K]."""

    first: Tensor  # index of the lower cell, as a float; NaN where the point is
    near: Tensor  # weight of the lower cell
    far: Tensor  # weight of the upper cell
    near_slope: Tensor | None  # d near / d point; None in the forward pass
    far_slope: Tensor | None  # d far / d point


def sample_levels(
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
) -> list[Tensor]:
    """Returns L tensors [B, J, M, C_l] in the dtype of the points; arguments as `deform_sample`."""
    batch, _, joints, heads, points = attention_weights.shape
    sums = (batch * joints * heads, points * 4)
    if not attention_weights.numel():  # sums of nothing
        return [
            reference_points.new_zeros((batch, joints, heads, level.shape[-1])) for level in levels
        ]
    outputs = []
    for index, level_BHWC in enumerate(levels):
        x, y = _axes(
            level_BHWC, reference_points, sampling_offsets[:, index], padding, align_corners
        )
        weights_BJMK = attention_weights[:, index]
        upper_BJMK, lower_BJMK = y.near * weights_BJMK, y.far * weights_BJMK
        coefficients_BJMK4 = torch.stack(
            (upper_BJMK * x.near, upper_BJMK * x.far, lower_BJMK * x.near, lower_BJMK * x.far),
            dim=-1,
        )
        summed = F.embedding_bag(
            _rows(level_BHWC, x, y).view(sums),
            _table(level_BHWC, reference_points.dtype),
            mode="sum",
            per_sample_weights=coefficients_BJMK4.view(sums),
        )
        output_BJMC = summed.view(batch, joints, heads, level_BHWC.shape[-1])
        outputs.append(output_BJMC * scales[index] if scales else output_BJMC)
    return outputs


def sample_levels_backward(
    grads: Sequence[Tensor],
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the gradients of reference points, offsets and weights, given those of the outputs.

    `grads` are L tensors [B, J, M, C_l]; the other arguments are those of the forward pass.
    """
    offsets_grad = torch.empty_like(sampling_offsets, memory_format=torch.contiguous_format)
    weights_grad = torch.empty_like(attention_weights, memory_format=torch.contiguous_format)
    for index, level_BHWC in enumerate(levels):
        x, y = _axes(
            level_BHWC,
            reference_points,
            sampling_offsets[:, index],
            padding,
            align_corners,
            slopes=True,
        )
        assert x.near_slope is not None
        assert x.far_slope is not None
        assert y.near_slope is not None
        assert y.far_slope is not None
        grad_BJMC = grads[index] * scales[index] if scales else grads[index]
        dots_BJMK4 = _row_dots(
            grad_BJMC, _table(level_BHWC, reference_points.dtype), _rows(level_BHWC, x, y)
        )
        upper_left, upper_right, lower_left, lower_right = dots_BJMK4.unbind(-1)
        weights_BJMK = attention_weights[:, index]
        upper = upper_left * x.near + upper_right * x.far
        lower = lower_left * x.near + lower_right * x.far
        weights_grad[:, index] = upper * y.near + lower * y.far
        along_y = upper * y.near_slope + lower * y.far_slope
        left = upper_left * y.near + lower_left * y.far
        right = upper_right * y.near + lower_right * y.far
        along_x = left * x.near_slope + right * x.far_slope
        torch.mul(along_x, weights_BJMK, out=offsets_grad[:, index, ..., 0])
        torch.mul(along_y, weights_BJMK, out=offsets_grad[:, index, ..., 1])
    return offsets_grad.sum(dim=(1, 3, 4)), offsets_grad, weights_grad


def _axes(
    level_BHWC: Tensor,
    reference_points: Tensor,
    offsets_BJMK2: Tensor,
    padding: str,
    align_corners: bool,
    *,
    slopes: bool = False,
) -> tuple[_Axis, _Axis]:
    # x and y apart: on a last axis of length 2 elementwise work is several times slower.
    x_size, y_size = level_BHWC.shape[2], level_BHWC.shape[1]
    x_BJMK, y_BJMK = (
        reference_points[..., axis, None, None] + offsets_BJMK2[..., axis] for axis in (0, 1)
    )
    return (
        _axis(x_BJMK, x_size, padding, align_corners, slopes=slopes),
        _axis(y_BJMK, y_size, padding, align_corners, slopes=slopes),
    )


def _axis(points: Tensor, size: int, padding: str, align_corners: bool, *, slopes: bool) -> _Axis:
    if align_corners:  # -1 and 1 are the centres of the outermost cells
        step = (size - 1) / 2
        cells = (points + 1) * step
    else:  # -1 and 1 are the outer edges of the map
        step = size / 2
        cells = (points + 1) * step - 0.5
    held = cells.clamp(0, size - 1) if padding == "border" else cells
    # Both cells exist: beyond the last pair of cells, the last pair is taken.
    first = held.floor().clamp_(0, max(size - 2, 0))
    far = held - first
    near = 1 - far
    near_slope = far_slope = None
    if padding == "border":
        if slopes:
            far_slope = ((cells > 0) & (cells < size - 1)).to(points.dtype) * step
            near_slope = -far_slope
        return _Axis(first, near, far, near_slope, far_slope)
    # Zeros outside: a cell at distance d of the point weighs max(0, 1 - |d|), wherever that is.
    exists = 1.0 if size > 1 else 0.0  # the second cell of a map of one cell does not
    if slopes:
        far_slope = (_tent_sign(-near)) * (step * exists)
        near_slope = _tent_sign(far) * step
    return _Axis(
        first,
        (1 - far.abs()).clamp_(min=0),
        (1 - near.abs()).clamp_(min=0) * exists,
        near_slope,
        far_slope,
    )


def _tent_sign(distance: Tensor) -> Tensor:
    """Returns the slope of max(0, 1 - |d|), of the right-hand side where it has two."""
    rising = (distance >= -1) & (distance < 0)
    falling = (distance >= 0) & (distance < 1)
    return rising.to(distance.dtype) - falling.to(distance.dtype)


def _rows(level_BHWC: Tensor, x: _Axis, y: _Axis) -> Tensor:
    """Returns the rows [B, J, M, K, 4] of the table: upper left, upper right, lower left, right."""
    batch, height, width, _ = level_BHWC.shape
    right, below = min(width - 1, 1), min(height - 1, 1) * width
    # Where a point is NaN its weights are, and any row will do.
    within = (y.first.long() * width + x.first.long()).clamp_(0, height * width - 1 - right - below)
    starts = torch.arange(batch, device=level_BHWC.device) * (height * width)
    corner = within + starts.view(-1, 1, 1, 1)
    return torch.stack((corner, corner + right, corner + below, corner + (below + right)), dim=-1)


def _table(level_BHWC: Tensor, dtype: torch.dtype) -> Tensor:
    return level_BHWC.flatten(0, 2).to(dtype)


def _row_dots(grad_BJMC: Tensor, table: Tensor, rows_BJMK4: Tensor) -> Tensor:
    """Returns the dot product of each row with the gradient of its sum, shaped like the rows."""
    if not rows_BJMK4.numel():
        return table.new_zeros(rows_BJMK4.shape)
    grad = grad_BJMC.flatten(0, 2).to(table.dtype)
    rows = rows_BJMK4.view(len(grad), -1)
    if table.device.type != "cpu":
        return torch.bmm(F.embedding(rows, table), grad[:, :, None]).view(rows_BJMK4.shape)
    if len(table) <= rows.shape[1]:  # sparse matrices cannot hold more elements than columns
        return (grad @ table.t()).gather(1, rows).view(rows_BJMK4.shape)
    # One dot product per stored element of a sparse matrix: nothing of size rows x C is stored.
    # A row may occur twice in a sum, which this product does not mind.
    _accept_sparse_notice()
    mask = torch.sparse_csr_tensor(
        torch.arange(0, rows.numel() + 1, rows.shape[1]),
        rows.view(-1),
        grad.new_zeros(rows.numel()),
        size=(len(grad), len(table)),
        check_invariants=False,
    )
    dots: Tensor = torch.sparse.sampled_addmm(mask, grad, table.t(), beta=0.0)
    return dots.values().view(rows_BJMK4.shape)


@functools.cache
def _accept_sparse_notice() -> None:
    """Takes PyTorch's once-per-process notice that CSR tensors are in beta."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor(
            torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), [], (1, 1)
        )
