"""Weighted sums of bilinear samples from a pyramid of frozen feature maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lifter.errors import BackendMissing
from lifter.ops import cpu, gpu, reference
from lifter.ops.checks import Backend, Padding, check_inputs

_IMPLEMENTATIONS = {"cpu": cpu, "reference": reference, "triton": gpu}


def deform_sample(
    levels: Sequence[Tensor],  # L maps [B, H_l, W_l, C_l], channels last
    reference_points: Tensor,  # [B, J, 2] unit frame (x, y), float32
    sampling_offsets: Tensor,  # [B, L, J, M, K, 2] unit frame, float32
    attention_weights: Tensor,  # [B, L, J, M, K] any weights (no sum assumed), float32
    *,
    scales: Sequence[Tensor] | None = None,  # per level [C_l]
    padding: Padding = "border",
    align_corners: bool = True,
    backend: Backend = "auto",
) -> list[Tensor]:  # L tensors [B, J, M, C_l], float32
    """Returns per level, joint and head the weighted sum of K bilinear samples.

    Sample k lies at `reference_points + sampling_offsets[..., k, :]`. In the unit frame -1 and 1
    are the centres of the outermost cells (`align_corners`) or the outer edges of the map (not), as
    in `torch.nn.functional.grid_sample`. Outside the map, `border` repeats the nearest cell and
    `zeros` reads 0. A point that is not a number gives outputs that are not.

    The maps are frozen: float16, bfloat16, float32, or uint8 and int8 with `scales`, which multiply
    the sums. Gradients flow to the points, offsets and weights. Sums are float32; with float64
    points (and offsets and weights) they are float64, which is meant for checks.

    Raises:
        SamplingError: Shapes, dtypes or devices do not fit together, or a map requires grad.
        BackendMissing: `backend` names an implementation that this build does not have.
    """
    check_inputs(
        levels, reference_points, sampling_offsets, attention_weights, scales, padding, backend
    )
    outputs: list[Tensor] = _deform_sample(
        list(levels),
        reference_points,
        sampling_offsets,
        attention_weights,
        list(scales or ()),
        padding,
        align_corners,
        choose_backend(levels, reference_points, backend),
    )
    return outputs


def choose_backend(
    levels: Sequence[Tensor], reference_points: Tensor, backend: Backend = "auto"
) -> str:
    """Returns the implementation that serves these tensors: `cpu`, `triton` or `reference`.

    `auto` takes the compiled kernel on the CPU where it was built, and Triton on a CUDA device
    where it is installed; both take float32 points.

    Raises:
        BackendMissing: `backend` names one that this build does not have or that does not fit.
    """
    if backend == "auto":
        if cpu.serves(levels, reference_points):
            return "cpu"
        # Triton's interpreter, on CPU tensors, is for those who ask for it by name.
        on_gpu = reference_points.device.type == "cuda"
        return "triton" if on_gpu and gpu.serves(levels, reference_points) else "reference"
    if backend == "triton" and not gpu.serves(levels, reference_points):
        raise BackendMissing(f"deform_sample: the 'triton' backend {gpu.reason_against()}")
    if backend == "cpu" and not cpu.serves(levels, reference_points):
        why = "was not built (no C compiler at installation)"
        if cpu.is_built():
            why = "takes float32 points and no float64 maps, on the CPU"
        raise BackendMissing(f"deform_sample: the 'cpu' kernel {why}. Use backend='auto'.")
    return backend


def prepare_levels(
    levels: Sequence[Tensor], reference_points: Tensor, *, backend: Backend = "auto"
) -> list[Tensor]:
    """Returns the maps as the backend reads them without converting: for sampling them often.

    The reference backend sums float32 (float64 stays): half-precision maps are widened once here
    instead of once per call. 8-bit maps are left alone, for they need their scales. The other
    backends read every dtype as it is stored.
    """
    if choose_backend(levels, reference_points, backend) != "reference":
        return list(levels)
    return [
        level.float() if level.dtype in (torch.float16, torch.bfloat16) else level
        for level in levels
    ]


@torch.library.custom_op("posecache::deform_sample", mutates_args=())
def _deform_sample(
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
    backend: str,
) -> list[Tensor]:
    outputs: list[Tensor] = _IMPLEMENTATIONS[backend].sample_levels(
        levels,
        reference_points,
        sampling_offsets,
        attention_weights,
        scales,
        padding,
        align_corners,
    )
    return outputs


@_deform_sample.register_fake
def _(
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,  # noqa: ARG001 (the signature is the op's)
    attention_weights: Tensor,
    scales: Sequence[Tensor],  # noqa: ARG001
    padding: str,  # noqa: ARG001
    align_corners: bool,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> list[Tensor]:
    batch, _, joints, heads, _ = attention_weights.shape
    return [reference_points.new_empty((batch, joints, heads, level.shape[-1])) for level in levels]


@torch.library.custom_op("posecache::deform_sample_backward", mutates_args=())
def _deform_sample_backward(
    grads: Sequence[Tensor],
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    gradients: tuple[Tensor, Tensor, Tensor] = _IMPLEMENTATIONS[backend].sample_levels_backward(
        grads,
        levels,
        reference_points,
        sampling_offsets,
        attention_weights,
        scales,
        padding,
        align_corners,
    )
    return gradients


@_deform_sample_backward.register_fake
def _(
    grads: Sequence[Tensor],  # noqa: ARG001
    levels: Sequence[Tensor],  # noqa: ARG001
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],  # noqa: ARG001
    padding: str,  # noqa: ARG001
    align_corners: bool,  # noqa: ARG001
    backend: str,  # noqa: ARG001
) -> tuple[Tensor, Tensor, Tensor]:
    return (
        reference_points.new_empty(reference_points.shape),
        sampling_offsets.new_empty(sampling_offsets.shape),
        attention_weights.new_empty(attention_weights.shape),
    )


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:  # noqa: ARG001
    levels, reference_points, sampling_offsets, attention_weights, scales, *settings = inputs
    ctx.save_for_backward(reference_points, sampling_offsets, attention_weights, *levels, *scales)
    ctx.num_levels, ctx.num_scales = len(levels), len(scales)
    ctx.settings = settings


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    reference_points, sampling_offsets, attention_weights, *maps = ctx.saved_tensors
    levels, scales = maps[: ctx.num_levels], maps[ctx.num_levels :]
    reference_grad, offsets_grad, weights_grad = _deform_sample_backward(
        grads,
        levels,
        reference_points,
        sampling_offsets,
        attention_weights,
        scales,
        *ctx.settings,
    )
    return (
        [None] * ctx.num_levels,
        reference_grad,
        offsets_grad,
        weights_grad,
        [None] * ctx.num_scales,
        None,
        None,
        None,
    )


_deform_sample.register_autograd(_backward, setup_context=_setup_context)
