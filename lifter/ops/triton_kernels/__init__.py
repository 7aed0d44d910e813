"""deform_sample in Triton; importing this needs Triton, so only `gpu.py` does.

The specification is lifter/ops/reference.py. A row is one (sample, joint, head) of B * J * M, and a
program does a tile of rows x channels of one level. The programs of all levels are one launch: at
the batch sizes of a training step four launches would take longer than the work. Sizes of maps are
constants of the compiled kernel, so a model compiles once per pass, and reads maps 16 bytes at a
time where their channels allow.

Every element is written by one program in one order: no atomics, the same bits every time.
"""

from lifter.ops.triton_kernels.backward import backward
from lifter.ops.triton_kernels.forward import forward

__all__ = ["backward", "forward"]
