"""The sampling op as one would write it with numba: a peer of the C kernel, for measurements only.

Border padding, aligned corners, float32 maps (numba has no float16 on a CPU). Loops over channels
are innermost, which LLVM makes wide.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float32]


@numba.njit(fastmath=True, inline="always")  # type: ignore[untyped-decorator]
def _locate(point, size):  # type: ignore[no-untyped-def]
    """Lower cell, upper cell, share of the upper, and whether the point is inside."""
    cell = (point + np.float32(1.0)) * np.float32((size - 1) / 2)
    held = min(max(cell, np.float32(0.0)), np.float32(size - 1))
    first = int(held)
    return first, min(first + 1, size - 1), held - np.float32(first), 0 < cell < size - 1


@numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _forward(level, points, weights, out):  # type: ignore[no-untyped-def]
    batch, height, width, channels = level.shape
    _, joints, heads, count = weights.shape
    for unit in numba.prange(batch * joints):
        b, j = unit // joints, unit % joints
        for m in range(heads):
            for c in range(channels):
                out[b, j, m, c] = np.float32(0.0)
            for k in range(count):
                left, right, x, _ = _locate(points[b, j, m, k, 0], width)
                top, bottom, y, _ = _locate(points[b, j, m, k, 1], height)
                weight = weights[b, j, m, k]
                a, d = (1 - y) * (1 - x) * weight, y * x * weight
                e, f = (1 - y) * x * weight, y * (1 - x) * weight
                for c in range(channels):
                    out[b, j, m, c] += (
                        a * level[b, top, left, c]
                        + e * level[b, top, right, c]
                        + f * level[b, bottom, left, c]
                        + d * level[b, bottom, right, c]
                    )


@numba.njit(parallel=True, fastmath=True)  # type: ignore[untyped-decorator]
def _backward(level, points, weights, grad, points_grad, weights_grad):  # type: ignore[no-untyped-def]
    batch, height, width, channels = level.shape
    _, joints, heads, count = weights.shape
    for unit in numba.prange(batch * joints):
        b, j = unit // joints, unit % joints
        for m in range(heads):
            for k in range(count):
                left, right, x, x_free = _locate(points[b, j, m, k, 0], width)
                top, bottom, y, y_free = _locate(points[b, j, m, k, 1], height)
                weight = weights[b, j, m, k]
                a = e = f = d = np.float32(0.0)
                for c in range(channels):
                    g = grad[b, j, m, c]
                    a += g * level[b, top, left, c]
                    e += g * level[b, top, right, c]
                    f += g * level[b, bottom, left, c]
                    d += g * level[b, bottom, right, c]
                upper, lower = a + (e - a) * x, f + (d - f) * x
                weights_grad[b, j, m, k] = upper + (lower - upper) * y
                along_x = (e - a) * (1 - y) + (d - f) * y
                points_grad[b, j, m, k, 0] = along_x * weight * x_free * ((width - 1) / 2)
                points_grad[b, j, m, k, 1] = (lower - upper) * weight * y_free * ((height - 1) / 2)


class NumbaSampling(torch.autograd.Function):
    """One level: map [B, H, W, C], points [B, J, M, K, 2], weights [B, J, M, K] to [B, J, M, C]."""

    @staticmethod
    def forward(ctx: Any, level: Tensor, points: Tensor, weights: Tensor) -> Tensor:
        """Returns the weighted sums."""
        ctx.save_for_backward(level, points, weights)
        out = torch.empty((*weights.shape[:3], level.shape[-1]))
        _forward(*(t.detach().numpy() for t in (level, points, weights, out)))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor, Tensor]:
        """Returns the gradients of points and weights."""
        level, points, weights = ctx.saved_tensors
        points_grad, weights_grad = torch.empty_like(points), torch.empty_like(weights)
        tensors = (level, points, weights, grads[0].contiguous(), points_grad, weights_grad)
        _backward(*(tensor.detach().numpy() for tensor in tensors))
        return None, points_grad, weights_grad


def set_threads(count: int) -> None:
    """Lets numba use so many threads."""
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
