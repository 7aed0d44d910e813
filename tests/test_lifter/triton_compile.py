"""Compiles the kernels for compute capability 9.0 on any machine: Triton carries what it needs.

The interpreter takes Python that the compiler does not; this is the compiler. Nothing is launched.
Run: `python -m tests.test_lifter.triton_compile`, one line per kernel.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from lifter.ops import gpu, triton_kernels


class Absent:
    """A device that can be compiled for, but that nothing can be launched on."""

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int | None = None) -> int:  # noqa: ARG002
        return 0

    def get_current_target(self) -> GPUTarget:
        return GPUTarget("cuda", 90, 32)


class Compiled:
    """Stands for a kernel: launching it compiles it and says so."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        def launch(*arguments: object, **options: object) -> None:
            compiled = self.kernel.warmup(*arguments, grid=grid, **options)
            assert compiled.asm["cubin"]
            wide = "ld.global.v4" in compiled.asm["ptx"]
            print(f"{self.kernel.fn.__name__}: sm_90, 16-byte loads: {wide}")

        return launch


def sample(
    dtypes: tuple[torch.dtype, ...],
    shapes: tuple[tuple[int, int, int], ...],
    *,
    joints: int = 17,
    heads: int = 4,
    points: int = 4,
    padding: str = "border",
    align_corners: bool = True,
) -> None:
    """Both passes, through the launcher."""
    batch = 1 if joints == 1 else 2
    levels = [
        torch.zeros(batch, *shape).to(dtype) for dtype, shape in zip(dtypes, shapes, strict=True)
    ]
    scales = [] if dtypes[0].is_floating_point else [torch.ones(shape[-1]) for shape in shapes]
    weights = torch.zeros(batch, len(levels), joints, heads, points)
    inputs = (torch.zeros(batch, joints, 2), torch.zeros(*weights.shape, 2), weights)
    settings = (levels, *inputs, scales, padding, align_corners)
    gpu.sample_levels_backward(gpu.sample_levels(*settings), *settings)


def main() -> None:
    assert triton.__version__
    driver.set_active(Absent())
    triton_kernels.forward = Compiled(triton_kernels.forward)
    triton_kernels.backward = Compiled(triton_kernels.backward)
    half = torch.float16
    sample((half, half), ((64, 48, 32), (8, 6, 256)))
    sample((torch.uint8, torch.int8), ((8, 6, 48), (4, 3, 2048)), points=5, padding="zeros")
    sample((torch.bfloat16, torch.float32), ((1, 6, 1), (4, 1, 13)), joints=1, heads=1, points=1)
    sample((torch.float32,), ((5, 5, 32),), points=9, padding="zeros", align_corners=False)


if __name__ == "__main__":
    main()
