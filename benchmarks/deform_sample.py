"""deform_sample on the CPU against four `F.grid_sample` calls with projection, as published.

Run: `python -m benchmarks.deform_sample [--quick] [--threads N]`. The figures are those of forward
+ backward.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from lifter.ops import deform_sample
from lifter.ops.cpu import is_built

SIZES = ((64, 48), (32, 24), (16, 12), (8, 6))
CHANNELS = (32, 64, 128, 256)  # HRNet-W32
JOINTS, HEADS, POINTS, HEAD_WIDTH = 17, 4, 4, 32


class Work:
    """The sampling of one context block on one batch of float16 maps."""

    def __init__(self, batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (batch, len(SIZES), JOINTS, HEADS, POINTS)
        self.levels = [
            torch.randn(batch, *size, channels, generator=generator).half()
            for size, channels in zip(SIZES, CHANNELS, strict=True)
        ]
        self.reference_points = torch.rand(batch, JOINTS, 2, generator=generator) * 1.6 - 0.8
        offsets = torch.randn(*shape, 2, generator=generator) * 0.1
        self.offsets = offsets.requires_grad_()
        self.weights = torch.rand(shape, generator=generator).softmax(-1).requires_grad_()
        self.values = nn.ModuleList(nn.Linear(channels, HEAD_WIDTH) for channels in CHANNELS)

    def fused(self, backend: str) -> Tensor:
        """Sum in the op, then project."""
        sums = deform_sample(
            self.levels, self.reference_points, self.offsets, self.weights, backend=backend
        )
        projected = [value(each) for value, each in zip(self.values, sums, strict=True)]
        return torch.stack(projected).sum()

    def published(self) -> Tensor:
        """Sample every point of every level, project each sample, then average."""
        total = torch.zeros(())
        for index, (level, value) in enumerate(zip(self.levels, self.values, strict=True)):
            points = self.reference_points[:, :, None, None] + self.offsets[:, index]
            samples = F.grid_sample(
                level.float().permute(0, 3, 1, 2),
                points.flatten(2, 3),
                padding_mode="border",
                align_corners=True,
            ).unflatten(-1, (HEADS, POINTS))  # [B, C, J, M, K]
            projected = value(samples.permute(0, 2, 3, 4, 1))  # [B, J, M, K, D / M]
            total = total + (projected * self.weights[:, index, ..., None]).sum(-2).sum()
        return total


def contenders(work: Work) -> dict[str, Callable[[], None]]:
    """Return forward + backward of every way to do the work."""
    ways: dict[str, Callable[[], Tensor]] = {
        "published": work.published,
        "reference": lambda: work.fused("reference"),
    }
    if is_built():
        ways["cpu"] = lambda: work.fused("cpu")
    return {name: lambda way=way: way().backward() for name, way in ways.items()}


def main() -> None:
    """Print and record one row per batch size and backend."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    rows: list[Row] = []
    for batch in (8,) if chosen.quick else (1, 8, 64):
        times = seconds_of(contenders(Work(batch)), repeats=chosen.rounds, warm_up=2)
        rows += compared(
            f"deform_sample, forward + backward, B={batch}, {chosen.threads} threads",
            times,
            amount=batch,
            unit="samples/s",
            baseline="published",
            goals={"cpu": 4.0},
            absent=() if is_built() else ("cpu",),
        )
    show("Sampling of four levels and projection", rows)
    if not chosen.quick:
        append_rows("deform_sample-cpu", rows, packages=("numpy", "torch"))


if __name__ == "__main__":
    main()
