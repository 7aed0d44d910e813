"""deform_sample on the CPU against four `F.grid_sample` calls with projection, as published.

Run: `python -m benchmarks.deform_sample [--quick] [--threads N]`. The work is the sampling of one
context block on HRNet-W32 levels, with its projection, forward + backward. The published way is
given float32 maps that are ready, channels first and channels last: the faster is the baseline. A
further row counts their conversion from the float16 of a cache. Ours reads float16 and 8-bit maps.
A kernel of the same plan written with numba, given float32 maps, tells what C is worth.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.memory import peak_bytes
from benchmarks.published.lifter import grid_sample
from lifter.ops import deform_sample
from lifter.ops.cpu import is_built

try:
    from benchmarks import numba_sampling
except ImportError:
    numba_sampling = None  # type: ignore[assignment]

CPU = torch.device("cpu")
SIZES = ((64, 48), (32, 24), (16, 12), (8, 6))
CHANNELS = (32, 64, 128, 256)  # HRNet-W32
JOINTS, HEADS, POINTS, HEAD_WIDTH = 17, 4, 4, 32
PUBLISHED = ("published, channels first", "published, channels last")
NUMBA = "numba, float32"
OURS = ("cpu, float16", "cpu, int8")
SPEED_GOAL, MEMORY_GOAL = 4.0, 8.0


class Work:
    """The sampling of one context block on one batch of maps."""

    def __init__(self, batch: int) -> None:
        generator = torch.Generator().manual_seed(0)
        shape = (batch, len(SIZES), JOINTS, HEADS, POINTS)
        self.halves = [  # [B, H, W, C]
            torch.randn(batch, *size, channels, generator=generator).half()
            for size, channels in zip(SIZES, CHANNELS, strict=True)
        ]
        self.codes = [(level.float() * 40).clamp(-127, 127).to(torch.int8) for level in self.halves]
        self.scales = [torch.full((channels,), 1 / 40) for channels in CHANNELS]
        # [B, C, H, W] float32 in two memory formats
        self.last = [level.float().permute(0, 3, 1, 2) for level in self.halves]
        self.first = [level.contiguous() for level in self.last]
        self.reference_points = torch.rand(batch, JOINTS, 2, generator=generator) * 1.6 - 0.8
        offsets = torch.randn(*shape, 2, generator=generator) * 0.1
        self.offsets = offsets.requires_grad_()
        self.weights = torch.rand(shape, generator=generator).softmax(-1).requires_grad_()
        self.values = nn.ModuleList(nn.Linear(channels, HEAD_WIDTH) for channels in CHANNELS)

    def fused(
        self, levels: list[Tensor], backend: str, scales: list[Tensor] | None = None
    ) -> Tensor:
        """Sums in the op, then projects."""
        sums = deform_sample(
            levels,
            self.reference_points,
            self.offsets,
            self.weights,
            scales=scales,
            backend=backend,
        )
        projected = [value(each) for value, each in zip(self.values, sums, strict=True)]
        return torch.stack(projected, dim=1).flatten(-2)

    def with_numba(self) -> Tensor:
        """The plan of the fused op in numba."""
        points = self.reference_points[:, None, :, None, None] + self.offsets
        sums = [
            numba_sampling.NumbaSampling.apply(
                level.permute(0, 2, 3, 1), points[:, index], self.weights[:, index]
            )
            for index, level in enumerate(self.last)
        ]
        projected = [value(each) for value, each in zip(self.values, sums, strict=True)]
        return torch.stack(projected, dim=1).flatten(-2)

    def published(self, maps: list[Tensor]) -> Tensor:
        """Samples every point of every level, projects each sample, then averages."""
        sampled = []
        for index, (level, value) in enumerate(zip(maps, self.values, strict=True)):
            points = self.reference_points[:, :, None] + self.offsets[:, index].flatten(2, 3)
            values = value(grid_sample(level, points, padding="border"))  # [B, J, M * K, D / M]
            shares = self.weights[:, index, ..., None]
            sampled.append((values.unflatten(2, (HEADS, POINTS)) * shares).sum(3).flatten(2))
        return torch.stack(sampled, dim=1)


def outputs(work: Work) -> dict[str, Callable[[], Tensor]]:
    """Every way to do the work, by name; each gives [B, L, J, D]."""
    ways: dict[str, Callable[[], Tensor]] = {
        PUBLISHED[0]: lambda: work.published(work.first),
        PUBLISHED[1]: lambda: work.published(work.last),
        "published, from float16": lambda: work.published(
            [level.permute(0, 3, 1, 2) for level in work.halves]
        ),
        "reference, float16": lambda: work.fused(work.halves, "reference"),
    }
    if is_built():
        ways["cpu, float16"] = lambda: work.fused(work.halves, "cpu")
        ways["cpu, int8"] = lambda: work.fused(work.codes, "cpu", work.scales)
    if numba_sampling is not None:
        ways[NUMBA] = work.with_numba
    return ways


def measured(work: Work, *, batch: int, threads: int, rounds: int) -> list[Row]:
    """Rows of speed and of peak memory."""
    calls = {
        name: lambda way=way: way().sum().backward()  # type: ignore[misc]
        for name, way in outputs(work).items()
    }
    absent = [name for name in (*OURS, NUMBA) if name not in calls]
    times = seconds_of(calls, repeats=rounds, warm_up=2)
    baseline = min(PUBLISHED, key=lambda name: statistics.median(times[name]))
    what = f"forward + backward, B={batch}, {threads} threads"
    speed = compared(
        f"deform_sample, {what}",
        times,
        amount=batch,
        unit="samples/s",
        baseline=baseline,
        goals=dict.fromkeys(OURS, SPEED_GOAL),
        absent=absent,
    )
    peaks = {name: peak_bytes(call, CPU) for name, call in calls.items()}
    return speed + memory_rows(f"peak extra memory, {what}", peaks, baseline)


def memory_rows(work: str, peaks: Mapping[str, int], baseline: str) -> list[Row]:
    """Rows of bytes; the ratio says how many times less than the baseline."""
    return [
        Row(
            work=work,
            contender=name,
            value=peak / 1e6,
            unit="MB",
            ratio=peaks[baseline] / peak,
            baseline=baseline,
            goal=MEMORY_GOAL if name in OURS else None,
        )
        for name, peak in peaks.items()
    ]


def main() -> None:
    """Print and record one row per batch size and way."""
    parser = arguments(__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=15)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    if numba_sampling is not None:
        numba_sampling.set_threads(chosen.threads)
    rows: list[Row] = []
    for batch in (2,) if chosen.quick else (1, 8, 64, 256):
        rounds = 2 if chosen.quick else chosen.rounds
        rows += measured(Work(batch), batch=batch, threads=chosen.threads, rounds=rounds)
    show("Sampling of four levels and projection", rows)
    if not chosen.quick:
        append_rows("deform_sample-cpu", rows, packages=("numpy", "torch", "numba"))


if __name__ == "__main__":
    main()
