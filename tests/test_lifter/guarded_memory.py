"""Runs the sampling kernel on tensors whose neighbours in memory must not be touched.

`python -m tests.test_lifter.guarded_memory`: every tensor that the kernel reads or writes ends
right before a page without access (or starts right behind one), so that one byte touched beyond it
kills the process. In the end two children touch one, and die of it.
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
import os
import signal
from collections.abc import Sequence
from unittest import mock

import torch
from torch import Tensor

from lifter.ops import cpu, deform_sample
from tests.test_lifter.sampling import DTYPES, Inputs, random_inputs, stored_as

PAGE = mmap.PAGESIZE
NO_ACCESS = 0  # PROT_NONE
SIZES = ((1, 1), (5, 3))
CHANNELS = (1, 13, 33)
_kept: list[mmap.mmap] = []  # to the end of the process


def guarded(shape: Sequence[int], dtype: torch.dtype, *, at: str) -> Tensor:
    """Returns a tensor next to a page without access."""
    count = torch.Size(shape).numel()
    size_bytes = count * dtype.itemsize
    pages = max(1, -(-size_bytes // PAGE))
    memory = mmap.mmap(-1, (pages + 2) * PAGE)
    _kept.append(memory)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    for address in (start, start + (pages + 1) * PAGE):
        if protect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), NO_ACCESS):
            raise OSError(ctypes.get_errno(), "mprotect")
    if not count:
        return torch.empty(tuple(shape), dtype=dtype)
    offset = (pages + 1) * PAGE - size_bytes if at == "end" else PAGE
    return torch.frombuffer(memory, dtype=dtype, count=count, offset=offset).view(tuple(shape))


def risky_inputs(height: int, width: int, channels: int) -> Inputs:
    """Returns points on the first and the last cell, just beyond, far away and nowhere."""
    shapes = ((height, width, channels), (2, 3, channels))
    inputs = random_inputs(joints=3, points=5, shapes=shapes, spread=1.4)
    reference, offsets = inputs.reference_points.detach(), inputs.sampling_offsets.detach()
    far = (torch.nan, torch.inf, -torch.inf, 1e30, -1e30, 1e6, -3.0, 3.0)
    for place, value in enumerate(far):
        offsets[0].view(-1, 2)[place, place % 2] = value
    reference[1, 0], reference[1, 1] = 1.0, -1.0
    offsets[1, :, :2, 0] = 0.0
    offsets[1, :, :2, 1] = torch.tensor([1e-6, -1e-6])[None, :, None, None]
    return inputs


def sample_everything(dtype: torch.dtype, *, at: str) -> None:
    """Samples maps of odd sizes, forward and backward."""
    empty = torch.empty

    def guarded_empty(*shape: int | Sequence[int], **settings: object) -> Tensor:
        sizes = shape[0] if shape and not isinstance(shape[0], int) else shape
        return empty(*shape, **settings) if settings else guarded(sizes, torch.float32, at=at)

    def copied(tensor: Tensor) -> Tensor:
        return guarded(tensor.shape, tensor.dtype, at=at).copy_(tensor.detach())

    for channels, (height, width) in itertools.product(CHANNELS, SIZES):
        stored, scales = stored_as(risky_inputs(height, width, channels), dtype)
        levels = [copied(level) for level in stored.levels]
        points = [copied(each).requires_grad_() for each in stored[1:]]
        factors = scales and [copied(scale) for scale in scales]
        for padding, align_corners in (("border", True), ("zeros", False)):
            with mock.patch("torch.empty", guarded_empty):
                sums = deform_sample(
                    levels,
                    *points,
                    scales=factors,
                    padding=padding,
                    align_corners=align_corners,
                    backend="cpu",
                )
                torch.autograd.grad(sums, points, [copied(torch.ones_like(x)) for x in sums])


def died_of_trespass(*, at: str) -> bool:
    """Returns whether a child that reads one byte beyond a tensor is killed for it."""
    tensor = guarded((3, 5), torch.float32, at=at)
    child = os.fork()
    if child == 0:
        ctypes.string_at(tensor.data_ptr() + (tensor.nbytes if at == "end" else -1), 1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV


def main() -> None:
    """Samples in every dtype, with and without wide instructions."""
    for wide, dtype, at in itertools.product((cpu._wide(), 0), DTYPES, ("end", "start")):
        if at == "start" and dtype.itemsize == 2:
            continue  # nothing reads backwards by a rule of its own
        with mock.patch.object(cpu, "_wide", lambda wide=wide: wide):
            sample_everything(dtype, at=at)
        _kept.clear()
        print(f"kept to {dtype} that {at}s at a page", flush=True)
    assert died_of_trespass(at="end")
    assert died_of_trespass(at="start")
    print("a trespass is noticed")


if __name__ == "__main__":
    main()
