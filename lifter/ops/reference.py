"""deform_sample in plain PyTorch: the specification of every faster implementation.

For level l, sample b, joint j, head m, with p_k = reference[b, j] + offset[b, l, j, m, k]:

    out_l[b, j, m, :] = scale_l * sum_k weight[b, l, j, m, k] * bilinear(level_l[b], p_k)

Each bilinear sample is four rows of the map, so the whole is a weighted sum of K * 4 rows of the
table [B * H * W, C]. `embedding_bag` computes such sums without storing the gathered rows. The
gradient of every coefficient is the dot product of a row with the gradient of the sum, which is
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
class _Corners:
    """The four map cells around each sampling point of one level; the last axes are (y, x)."""

    rows_BJMK22: Tensor  # int64, rows of the table [B * H * W, C]
    fractions_y_BJMK2: Tensor  # bilinear weights of the upper and the lower cell
    fractions_x_BJMK2: Tensor  # bilinear weights of the left and the right cell
    inside_BJMK22: Tensor | None  # 1 where the cell exists, 0 outside; None: all exist
    slope_BJMK2: Tensor  # d(x, y in cells) / d(point), 0 where border padding holds the point


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
    batch, _, joints, heads, _ = attention_weights.shape
    outputs = []
    for index, level_BHWC in enumerate(levels):
        points_BJMK2 = reference_points[:, :, None, None] + sampling_offsets[:, index]
        corners = _corners(points_BJMK2, level_BHWC, padding, align_corners)
        mix_BJMK22 = _bilinear(corners) * attention_weights[:, index, ..., None, None]
        summed = F.embedding_bag(
            corners.rows_BJMK22.reshape(batch * joints * heads, -1),
            _table(level_BHWC, points_BJMK2.dtype),
            mode="sum",
            per_sample_weights=mix_BJMK22.reshape(batch * joints * heads, -1),
        )
        output_BJMC = summed.view(batch, joints, heads, -1)
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
        points_BJMK2 = reference_points[:, :, None, None] + sampling_offsets[:, index]
        corners = _corners(points_BJMK2, level_BHWC, padding, align_corners)
        grad_BJMC = grads[index] * scales[index] if scales else grads[index]
        dots_BJMK22 = _row_dots(
            grad_BJMC, _table(level_BHWC, points_BJMK2.dtype), corners.rows_BJMK22
        )
        if corners.inside_BJMK22 is not None:
            dots_BJMK22 = dots_BJMK22 * corners.inside_BJMK22
        # Blending along x leaves a value per y-cell, and the other way round.
        at_y_BJMK2 = (dots_BJMK22 * corners.fractions_x_BJMK2[..., None, :]).sum(-1)
        at_x_BJMK2 = (dots_BJMK22 * corners.fractions_y_BJMK2[..., :, None]).sum(-2)
        torch.sum(at_y_BJMK2 * corners.fractions_y_BJMK2, -1, out=weights_grad[:, index])
        ends_BJMK22 = torch.stack((at_x_BJMK2, at_y_BJMK2), dim=-2)
        offsets_grad[:, index] = (
            (ends_BJMK22[..., 1] - ends_BJMK22[..., 0])
            * corners.slope_BJMK2
            * attention_weights[:, index, ..., None]
        )
    return offsets_grad.sum(dim=(1, 3, 4)), offsets_grad, weights_grad


def _corners(
    points_BJMK2: Tensor, level_BHWC: Tensor, padding: str, align_corners: bool
) -> _Corners:
    batch, height, width, _ = level_BHWC.shape
    size_2 = points_BJMK2.new_tensor((width, height))
    if align_corners:  # -1 and 1 are the centres of the outermost cells
        steps_2 = (size_2 - 1) / 2
        cells_BJMK2 = (points_BJMK2 + 1) * steps_2
    else:  # -1 and 1 are the outer edges of the map
        steps_2 = size_2 / 2
        cells_BJMK2 = (points_BJMK2 + 1) * steps_2 - 0.5
    last_2 = size_2 - 1
    if padding == "border":
        held_BJMK2 = cells_BJMK2.clamp(torch.zeros_like(last_2), last_2)
        free_BJMK2 = (cells_BJMK2 > 0) & (cells_BJMK2 < last_2)
    else:
        # Beyond one cell outside nothing changes; the clamp keeps infinite points countable.
        held_BJMK2 = cells_BJMK2.clamp(torch.full_like(last_2, -1), size_2)
        free_BJMK2 = (cells_BJMK2 >= -1) & (cells_BJMK2 <= size_2)
    first_BJMK2 = held_BJMK2.floor()
    fraction_BJMK2 = held_BJMK2 - first_BJMK2  # a point that is not a number stays so here
    fractions_BJMK22 = torch.stack((1 - fraction_BJMK2, fraction_BJMK2), dim=-1)
    first = first_BJMK2.long()
    columns_BJMK2 = torch.stack((first[..., 0], first[..., 0] + 1), dim=-1)
    lines_BJMK2 = torch.stack((first[..., 1], first[..., 1] + 1), dim=-1)
    inside_BJMK22 = None
    if padding == "zeros":
        inside_x = (columns_BJMK2 >= 0) & (columns_BJMK2 < width)
        inside_y = (lines_BJMK2 >= 0) & (lines_BJMK2 < height)
        inside = inside_y[..., :, None] & inside_x[..., None, :]
        inside_BJMK22 = inside.to(points_BJMK2.dtype)
    start_B = torch.arange(batch, device=level_BHWC.device) * (height * width)
    lines_BJMK2 = lines_BJMK2.clamp(0, height - 1) * width + start_B.view(-1, 1, 1, 1, 1)
    return _Corners(
        rows_BJMK22=lines_BJMK2[..., :, None] + columns_BJMK2.clamp(0, width - 1)[..., None, :],
        fractions_y_BJMK2=fractions_BJMK22[..., 1, :],
        fractions_x_BJMK2=fractions_BJMK22[..., 0, :],
        inside_BJMK22=inside_BJMK22,
        slope_BJMK2=free_BJMK2 * steps_2,
    )


def _bilinear(corners: _Corners) -> Tensor:
    weights_BJMK22 = (
        corners.fractions_y_BJMK2[..., :, None] * corners.fractions_x_BJMK2[..., None, :]
    )
    if corners.inside_BJMK22 is None:
        return weights_BJMK22
    return weights_BJMK22 * corners.inside_BJMK22


def _table(level_BHWC: Tensor, dtype: torch.dtype) -> Tensor:
    return level_BHWC.reshape(-1, level_BHWC.shape[-1]).to(dtype)


def _row_dots(grad_BJMC: Tensor, table: Tensor, rows_BJMK22: Tensor) -> Tensor:
    """Returns the dot product of each row with the gradient of its sum, shaped like the rows."""
    grad = grad_BJMC.reshape(-1, grad_BJMC.shape[-1]).to(table.dtype)
    rows = rows_BJMK22.reshape(len(grad), -1)
    if table.device.type != "cpu":
        return torch.bmm(F.embedding(rows, table), grad[:, :, None]).view(rows_BJMK22.shape)
    # One dot product per stored element of a sparse matrix: nothing of size rows x C is stored.
    # A row may occur twice in a sum (border padding), which this product does not mind.
    _announce_sparse()
    mask = torch.sparse_csr_tensor(
        torch.arange(0, rows.numel() + 1, rows.shape[1]),
        rows.reshape(-1),
        grad.new_zeros(rows.numel()),
        size=(len(grad), len(table)),
        check_invariants=False,
    )
    dots = torch.sparse.sampled_addmm(mask, grad, table.t(), beta=0.0)
    return dots.values().view(rows_BJMK22.shape)


@functools.cache
def _announce_sparse() -> None:
    """Takes PyTorch's once-per-process notice that CSR tensors are young."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        torch.sparse_csr_tensor(
            torch.tensor([0, 0]), torch.tensor([], dtype=torch.long), [], (1, 1)
        )
