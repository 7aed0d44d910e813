"""deform_sample through the compiled kernel `cpu_kernel.c`; built when the project is installed.

Reads maps in their stored dtype, stores nothing between the map and the sums, and shares the
samples among as many threads as torch uses: torch's own OpenMP threads, because a second set of
threads would wait for the first, which spins for a while after each of torch's operations. Results
do not depend on the number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_DTYPES = {
    torch.float32: 0,
    torch.float16: 1,
    torch.bfloat16: 2,
    torch.uint8: 3,
    torch.int8: 4,
}
# Products of a weight and a channel that are worth waking one more thread.
_PRODUCTS_PER_THREAD = 1 << 18


class _Level(ctypes.Structure):
    """`Level` of the kernel."""

    _fields_ = (
        ("map", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("dtype", "height", "width", "channels")),
        *((name, ctypes.c_void_p) for name in ("scale", "output", "grad")),
    )


class _Job(ctypes.Structure):
    """`Job` of the kernel."""

    _fields_ = (
        ("levels", ctypes.POINTER(_Level)),
        *((name, ctypes.c_int64) for name in ("batch", "num_levels", "joints", "heads", "points")),
        *((name, ctypes.c_int64) for name in ("zeros", "align_corners", "wide", "backward")),
        *(
            (name, ctypes.c_void_p)
            for name in ("reference", "offsets", "weights", "offsets_grad", "weights_grad")
        ),
        ("next", ctypes.c_int64),
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


@cache
def _openmp() -> Any:
    """Returns what runs a function in torch's OpenMP threads, or None where torch has none."""
    return getattr(ctypes.CDLL(None), "GOMP_parallel", None)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(count, thread_name_prefix="deform-sample")


@torch.compiler.assume_constant_result  # type: ignore[untyped-decorator]
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
    new = torch.empty if attention_weights.numel() else torch.zeros
    outputs = [new((batch, joints, heads, level.shape[-1])) for level in levels]
    _run(
        levels,
        (reference_points, sampling_offsets, attention_weights),
        scales,
        outputs=outputs,
        padding=padding,
        align_corners=align_corners,
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
    offsets_grad = torch.empty(sampling_offsets.shape)
    weights_grad = torch.empty(attention_weights.shape)
    _run(
        levels,
        (reference_points, sampling_offsets, attention_weights),
        scales,
        grads=[grad.float().contiguous() for grad in grads],
        inputs_grads=(offsets_grad, weights_grad),
        padding=padding,
        align_corners=align_corners,
    )
    return offsets_grad.sum(dim=(1, 3, 4)), offsets_grad, weights_grad


def _run(
    levels: Sequence[Tensor],
    inputs: tuple[Tensor, Tensor, Tensor],  # reference points, offsets, weights
    scales: Sequence[Tensor],
    *,
    outputs: Sequence[Tensor] = (),  # forward
    grads: Sequence[Tensor] = (),  # backward, with the next
    inputs_grads: tuple[Tensor, Tensor] | None = None,
    padding: str,
    align_corners: bool,
) -> None:
    # What the kernel reads is kept here until it has run.
    maps = [level.contiguous() for level in levels]
    factors = [scale.float().contiguous() for scale in scales]
    reference, offsets, weights = (tensor.contiguous() for tensor in inputs)
    described = (_Level * len(maps))(
        *(
            _Level(
                level.data_ptr(),
                _DTYPES[level.dtype],
                *level.shape[1:],
                factors[index].data_ptr() if factors else None,
                outputs[index].data_ptr() if outputs else None,
                grads[index].data_ptr() if grads else None,
            )
            for index, level in enumerate(maps)
        )
    )
    batch, num_levels, joints, heads, points = weights.shape
    job = _Job(
        described,
        *(batch, num_levels, joints, heads, points),
        *(padding == "zeros", align_corners, _wide(), inputs_grads is not None),
        *(tensor.data_ptr() for tensor in (reference, offsets, weights)),
        *(tensor.data_ptr() for tensor in inputs_grads or ()),
    )
    products = weights.numel() // num_levels * 4 * sum(level.shape[-1] for level in maps)
    _share(job, min(torch.get_num_threads(), batch * num_levels, products // _PRODUCTS_PER_THREAD))


def _share(job: _Job, threads: int) -> None:
    """Does the job in so many threads, outside Python's lock."""
    kernel = _kernel()
    assert kernel is not None
    if threads <= 1:
        kernel.posecache_work(ctypes.byref(job))
    elif (run := _openmp()) is not None:
        work = ctypes.cast(kernel.posecache_work, ctypes.c_void_p)
        run(work, ctypes.byref(job), ctypes.c_uint(threads), ctypes.c_uint(0))
    else:
        pool = _threads(threads)
        list(pool.map(lambda _: kernel.posecache_work(ctypes.byref(job)), range(threads)))
