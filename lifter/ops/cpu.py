"""deform_sample through the compiled kernel `cpu_kernel.c`; built when the project is installed.

Reads maps in their stored dtype, stores nothing between the map and the sums, and shares the batch
among as many threads as torch uses. Results do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import torch
from torch import Tensor

_DTYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.uint8: 3,
    torch.int8: 4,
}


class _Level(ctypes.Structure):
    """`Level` of the kernel."""

    _fields_ = (
        ("map", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("dtype", "height", "width", "channels")),
        *((name, ctypes.c_void_p) for name in ("reference", "offsets", "weights")),
        *((name, ctypes.c_int64) for name in ("offsets_stride", "weights_stride")),
        *((name, ctypes.c_int64) for name in ("joints", "heads", "points")),
        *((name, ctypes.c_int64) for name in ("zeros", "align_corners")),
    )


@cache
def _kernel() -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_cpu_kernel{suffix}")
        if path.exists():
            return ctypes.CDLL(str(path))
    return None


@cache
def _wide() -> int:
    kernel = _kernel()
    return 0 if kernel is None else int(kernel.posecache_has_wide())


def is_built() -> bool:
    """Returns whether the kernel was compiled at installation."""
    return _kernel() is not None


def serves(levels: Sequence[Tensor], reference_points: Tensor) -> bool:
    """Returns whether the kernel is here and takes these maps and points (float64 it does not)."""
    return (
        is_built()
        and reference_points.device.type == "cpu"
        and reference_points.dtype == torch.float32
        and all(level.dtype in _DTYPES for level in levels)
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
    batch, _, joints, heads, _ = attention_weights.shape
    kernel = _kernel()
    assert kernel is not None
    points = (reference_points.contiguous(), sampling_offsets.contiguous())
    weights = attention_weights.contiguous()
    outputs = []
    for index, level in enumerate(levels):
        output = torch.empty((batch, joints, heads, level.shape[-1]))
        level = level.contiguous()  # kept until the kernel has run
        call = _describe(index, level, *points, weights, padding, align_corners)

        def run(
            first: int, last: int, call: _Level = call, address: int = output.data_ptr()
        ) -> None:
            kernel.posecache_forward(
                ctypes.byref(call),
                ctypes.c_int64(first),
                ctypes.c_int64(last),
                ctypes.c_int64(_wide()),
                ctypes.c_void_p(address),
            )

        _share(run, batch)
        outputs.append(output * scales[index] if scales else output)
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
    kernel = _kernel()
    assert kernel is not None
    points = (reference_points.contiguous(), sampling_offsets.contiguous())
    weights = attention_weights.contiguous()
    offsets_grad = torch.empty(sampling_offsets.shape)
    weights_grad = torch.empty(attention_weights.shape)
    for index, level in enumerate(levels):
        grad = grads[index] * scales[index] if scales else grads[index]
        grad = grad.float().contiguous()
        level = level.contiguous()  # kept until the kernel has run
        call = _describe(index, level, *points, weights, padding, align_corners)
        addresses = (
            grad.data_ptr(),
            _level_address(offsets_grad, index),
            _level_address(weights_grad, index),
        )

        def run(
            first: int,
            last: int,
            call: _Level = call,
            addresses: tuple[int, int, int] = addresses,
        ) -> None:
            kernel.posecache_backward(
                ctypes.byref(call),
                ctypes.c_int64(first),
                ctypes.c_int64(last),
                ctypes.c_int64(_wide()),
                *(ctypes.c_void_p(address) for address in addresses),
            )

        _share(run, len(level))
    return offsets_grad.sum(dim=(1, 3, 4)), offsets_grad, weights_grad


def _describe(
    index: int,
    level: Tensor,
    reference_points: Tensor,
    sampling_offsets: Tensor,
    attention_weights: Tensor,
    padding: str,
    align_corners: bool,
) -> _Level:
    _, height, width, channels = level.shape
    joints, heads, points = attention_weights.shape[2:]
    return _Level(
        level.data_ptr(),
        _DTYPES[level.dtype],
        height,
        width,
        channels,
        reference_points.data_ptr(),
        _level_address(sampling_offsets, index),
        _level_address(attention_weights, index),
        sampling_offsets.stride(0),
        attention_weights.stride(0),
        joints,
        heads,
        points,
        int(padding == "zeros"),
        int(align_corners),
    )


def _level_address(tensor: Tensor, index: int) -> int:
    """Address of `tensor[:, index]`; all samples of a level are one stride apart."""
    return tensor.data_ptr() + index * tensor.stride(1) * tensor.element_size()


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="deform-sample")


def _share(run: Callable[[int, int], None], batch: int) -> None:
    """Calls `run(first, last)` over the batch, in parallel parts; the kernel releases the GIL."""
    parts = min(torch.get_num_threads(), batch)
    if parts <= 1:
        run(0, batch)
        return
    bounds = [batch * part // parts for part in range(parts + 1)]
    list(_threads(parts).map(run, bounds[:-1], bounds[1:]))
