"""`deform_sample` as other programs know it: `grid_sample` and a weighted sum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

import lifter.ops  # noqa: F401 (registers the op)


def sample_by_grid(
    levels: Sequence[Tensor],  # L maps [B, H, W, C]
    reference_points: Tensor,  # [B, J, 2]
    sampling_offsets: Tensor,  # [B, L, J, M, K, 2]
    attention_weights: Tensor,  # [B, L, J, M, K]
    scales: Sequence[Tensor],  # per level [C], or none
    padding: str,
    align_corners: bool,
    backend: str,  # noqa: ARG001 (the signature is the op's)
) -> list[Tensor]:  # L tensors [B, J, M, C]
    """Returns what the op `posecache::deform_sample` does, of operators that ONNX has.

    Every sample is stored before the sum, [B, C, J M K] per level. Points that are not numbers give
    numbers here.
    """
    batch, _, joints, heads, points = attention_weights.shape
    outputs = []
    for index, level in enumerate(levels):
        places = reference_points[:, :, None, None] + sampling_offsets[:, index]
        samples = F.grid_sample(
            level.permute(0, 3, 1, 2).to(reference_points.dtype),
            places.reshape(batch, joints, heads * points, 2),
            mode="bilinear",
            padding_mode=padding,
            align_corners=align_corners,
        )  # [B, C, J, M K]
        samples = samples.reshape(batch, level.shape[-1], joints, heads, points)
        summed = (samples * attention_weights[:, index, None]).sum(dim=-1)
        output = summed.permute(0, 2, 3, 1).contiguous()
        outputs.append(output * scales[index] if scales else output)
    return outputs


def decompositions() -> Mapping[Any, Callable[..., Any]]:
    """Returns what stands for our own ops in an exported graph."""
    return {torch.ops.posecache.deform_sample.default: sample_by_grid}
