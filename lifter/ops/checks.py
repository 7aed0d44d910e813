"""What deform_sample asks of its arguments, said before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from lifter.errors import SamplingError

Padding = Literal["border", "zeros"]
Backend = Literal["auto", "reference", "cpu", "triton"]

POINT_DTYPES = (torch.float32, torch.float64)
LEVEL_DTYPES = (
    torch.float16,
    torch.bfloat16,
    torch.float32,
    torch.float64,
    torch.uint8,
    torch.int8,
)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise SamplingError(f"deform_sample: {message}")


def check_inputs(
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor] | None,
    padding: str,
    backend: str,
) -> None:
    """Raises `SamplingError` naming the argument, the rule and the value of the first misfit."""
    _require(
        backend in get_args(Backend),
        f"backend must be one of {get_args(Backend)}, got {backend!r}.",
    )
    _require(
        padding in get_args(Padding),
        f"padding must be one of {get_args(Padding)}, got {padding!r}.",
    )
    _require(len(levels) > 0, "levels must name at least one map, got none.")
    points = {
        "reference_points": (reference_points, "[B, J, 2]"),
        "sampling_offsets": (sampling_offsets, "[B, L, J, M, K, 2]"),
        "attention_weights": (attention_weights, "[B, L, J, M, K]"),
    }
    for name, (tensor, axes) in points.items():
        _require(
            tensor.ndim == axes.count(",") + 1,
            f"{name} must have the axes {axes}, got shape {tuple(tensor.shape)}.",
        )
        _require(
            tensor.dtype in POINT_DTYPES,
            f"{name} must be float32 (points lose up to a fifth of a pixel in half precision), "
            f"got {tensor.dtype}. Call .float() on it, outside autocast.",
        )
        _require(
            tensor.dtype == reference_points.dtype,
            f"{name} must have the dtype of reference_points ({reference_points.dtype}), "
            f"got {tensor.dtype}.",
        )
        _require(
            tensor.device == levels[0].device,
            f"{name} must be on the device of the maps ({levels[0].device}), got {tensor.device}.",
        )
    batch, joints, _ = reference_points.shape
    expected = (batch, len(levels), joints, *attention_weights.shape[3:])
    for name, tensor, shape in (
        ("reference_points", reference_points, (batch, joints, 2)),
        ("attention_weights", attention_weights, expected),
        ("sampling_offsets", sampling_offsets, (*expected, 2)),
    ):
        _require(
            tuple(tensor.shape) == tuple(shape),
            f"{name} must have shape {tuple(shape)} for {len(levels)} levels, {batch} samples and "
            f"{joints} joints, got {tuple(tensor.shape)}.",
        )
    for index, level in enumerate(levels):
        _check_level(f"levels[{index}]", level, batch, levels[0].device)
    if scales is None:
        return
    _require(
        len(scales) == len(levels),
        f"scales must name one tensor per level ({len(levels)}), got {len(scales)}.",
    )
    for index, (scale, level) in enumerate(zip(scales, levels, strict=True)):
        _require(
            tuple(scale.shape) == (level.shape[-1],),
            f"scales[{index}] must have shape ({level.shape[-1]},), got {tuple(scale.shape)}.",
        )
        _require(
            scale.dtype in (torch.float32, reference_points.dtype),
            f"scales[{index}] must be float32, got {scale.dtype}. Call .float() on it.",
        )
        _require(
            scale.device == level.device,
            f"scales[{index}] must be on {level.device}, got {scale.device}.",
        )
        _require(
            not scale.requires_grad,
            f"scales[{index}] requires grad, but scales belong to frozen maps: no gradient is "
            "computed for them. Pass scale.detach().",
        )


def _check_level(name: str, level: Tensor, batch: int, device: torch.device) -> None:
    _require(
        level.ndim == 4,
        f"{name} must have the axes [B, H, W, C] (channels last), got shape {tuple(level.shape)}.",
    )
    _require(
        level.shape[0] == batch,
        f"{name} must hold {batch} samples like reference_points, got {level.shape[0]}.",
    )
    _require(
        level.shape[1] > 0 and level.shape[2] > 0,
        f"{name} must have at least one cell, got shape {tuple(level.shape)}.",
    )
    _require(
        level.dtype in LEVEL_DTYPES, f"{name} must be one of {LEVEL_DTYPES}, got {level.dtype}."
    )
    _require(level.device == device, f"{name} must be on {device}, got {level.device}.")
    _require(
        not level.requires_grad,
        f"{name} requires grad, but maps are frozen: no gradient is computed for them. "
        "Pass level.detach().",
    )
