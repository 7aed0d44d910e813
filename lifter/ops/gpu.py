"""deform_sample on a CUDA device through Triton: one launch per pass for all levels.

All levels go into one launch, as tuples of tensors and of constants: four launches would cost the
host more than the device needs for a batch of a training step. Triton takes such tuples since 3.4
(that of torch 2.8). Tiles are chosen by rule and not by trial, so that nothing is timed and nothing
synchronises. Maps with other strides than a contiguous [B, H, W, C] are copied first.

Without a GPU the same kernels run under Triton's interpreter (environment variable
TRITON_INTERPRET=1, set before this is imported), on CPU tensors, for tests.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lifter.errors import SamplingError

OLDEST = (3, 4)


def _version() -> tuple[int, ...] | None:
    """Version of Triton, None where there is none; importing it would take a second."""
    for name in ("triton", "pytorch-triton", "pytorch-triton-rocm"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return tuple(int(part) for part in importlib.metadata.version(name).split(".")[:2])
    return None


# Found once, and outside of functions: torch.compile takes constants as they are.
VERSION = _version()
INSTALLED = VERSION is not None and VERSION >= OLDEST
INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"

_DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8)
_WARPS = 4
_THREADS = 32 * _WARPS
_READ_BYTES = 16  # of one load of one thread: the widest there is
_MAX_WIDE, _MIN_WIDE = 256, 16
_MAX_GROUP = 4  # four points: sixteen loads of a thread
_MAX_ROWS = 2**31 - 2**16  # rows are counted in 32 bits


def serves(levels: Sequence[Tensor], reference_points: Tensor) -> bool:
    """Returns whether Triton is here and takes these maps and points (float64 it does not)."""
    return (
        INSTALLED
        and (reference_points.device.type == "cuda" or INTERPRETED)
        and reference_points.dtype == torch.float32
        and all(level.dtype in _DTYPES for level in levels)
    )


def reason_against() -> str:
    """Returns why `serves` refuses, and what to do."""
    if not INSTALLED:
        return (
            f"needs Triton {OLDEST[0]}.{OLDEST[1]} or newer, found {_said(VERSION)}. It comes with "
            "CUDA builds of torch (2.8 or newer); for its interpreter on the CPU: "
            "pip install 'posecache[triton]'. Or use backend='auto'."
        )
    return (
        "takes float32 points and no float64 maps, on a CUDA device (on the CPU only in Triton's "
        "interpreter: set TRITON_INTERPRET=1 before Python starts). Use backend='auto'."
    )


def sample_levels(
    levels: Sequence[Tensor],
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
) -> list[Tensor]:
    """Returns L tensors [B, J, M, C_l] float32; arguments as `deform_sample`."""
    from lifter.ops.triton_kernels import forward  # not everywhere, and slow to import

    rows = _num_rows(attention_weights)
    batch, _, joints, heads, _ = attention_weights.shape
    outputs = [
        reference_points.new_empty((batch, joints, heads, level.shape[-1])) for level in levels
    ]
    tiles = [_tile(level, _READ_BYTES // level.element_size()) for level in levels]
    programs = sum(
        -(-rows // tile_rows) * -(-level.shape[-1] // tile_wide)
        for level, (tile_rows, tile_wide) in zip(levels, tiles, strict=True)
    )
    if programs:
        with _on(reference_points.device):
            forward[(programs,)](
                tuple(level.contiguous() for level in levels),
                tuple(scale.contiguous() for scale in scales) or tuple(outputs),
                tuple(outputs),
                reference_points.contiguous(),
                sampling_offsets.contiguous(),
                attention_weights.contiguous(),
                rows,
                **_constants(levels, tiles, attention_weights, scales, padding, align_corners),
            )
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
    from lifter.ops.triton_kernels import backward

    grads = [grad.float().contiguous() for grad in grads]
    offsets_grad = sampling_offsets.new_empty(sampling_offsets.shape)
    weights_grad = attention_weights.new_empty(attention_weights.shape)
    rows = _num_rows(attention_weights)
    # A thread keeps four products per channel: eight channels, however few bytes they are.
    tiles = [_tile(level, min(8, _READ_BYTES // level.element_size())) for level in levels]
    programs = sum(-(-rows // tile_rows) for tile_rows, _ in tiles)
    if programs and weights_grad.numel():
        with _on(reference_points.device):
            backward[(programs,)](
                tuple(grads),
                tuple(level.contiguous() for level in levels),
                tuple(scale.contiguous() for scale in scales) or tuple(grads),
                reference_points.contiguous(),
                sampling_offsets.contiguous(),
                attention_weights.contiguous(),
                offsets_grad,
                weights_grad,
                rows,
                **_constants(levels, tiles, attention_weights, scales, padding, align_corners),
            )
    return offsets_grad.sum(dim=(1, 3, 4)), offsets_grad, weights_grad


def _said(version: tuple[int, ...] | None) -> str:
    return "none" if version is None else ".".join(map(str, version))


def _num_rows(attention_weights: Tensor) -> int:
    batch, _, joints, heads, _ = attention_weights.shape
    rows = batch * joints * heads
    if rows > _MAX_ROWS:
        raise SamplingError(
            f"deform_sample: samples x joints x heads must be at most {_MAX_ROWS} on a GPU, got "
            f"{rows}. Sample a part of the batch at a time."
        )
    return rows


def _tile(level: Tensor, values: int) -> tuple[int, int]:
    """Rows and columns, powers of two, of a tile whose threads each take `values` values."""
    channels = level.shape[-1]
    wide = channels & -channels  # the largest power of two that leaves no column idle
    if wide < 32:
        wide = _power_of_two(channels)
    wide = max(_MIN_WIDE, min(wide, _MAX_WIDE))
    return max(1, _THREADS * values // wide), wide


def _power_of_two(number: int) -> int:
    return 1 << max(number - 1, 0).bit_length()


def _constants(
    levels: Sequence[Tensor],
    tiles: Sequence[tuple[int, int]],
    attention_weights: Tensor,
    scales: Sequence[Tensor],
    padding: str,
    align_corners: bool,
) -> dict[str, Any]:
    _, num_levels, joints, heads, points = attention_weights.shape
    return {
        "HEIGHTS": tuple(level.shape[1] for level in levels),
        "WIDTHS": tuple(level.shape[2] for level in levels),
        "CHANNELS": tuple(level.shape[3] for level in levels),
        "ROWS": tuple(rows for rows, _ in tiles),
        "WIDES": tuple(wide for _, wide in tiles),
        "NUM_LEVELS": num_levels,
        "JOINTS": joints,
        "HEADS": heads,
        "POINTS": points,
        "GROUP": min(_MAX_GROUP, _power_of_two(points)),
        "ZEROS": padding == "zeros",
        "ALIGN_CORNERS": align_corners,
        "SCALED": len(scales) > 0,
        "num_warps": _WARPS,
        "enable_fp_fusion": True,  # said, for its default is about to change
    }


def _on(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Triton launches on the current device, which need not be the tensors'."""
    return torch.cuda.device(device) if device.type == "cuda" else contextlib.nullcontext()
