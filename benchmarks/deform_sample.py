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
from torch import Tensor

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.memory import peak_bytes
from benchmarks.sampling_work import Work
from lifter.ops.cpu import is_built

try:
    from benchmarks import numba_sampling
except ImportError:
    numba_sampling = None  # type: ignore[assignment]

CPU = torch.device("cpu")
PUBLISHED = ("published, channels first", "published, channels last")
NUMBA = "numba, float32"
OURS = ("cpu, float16", "cpu, uint8")
SPEED_GOAL, MEMORY_GOAL = 4.0, 8.0


def with_numba(work: Work, maps: list[Tensor]) -> Tensor:
    """The plan of the fused op in numba, then projects; maps [B, H, W, C] float32."""
    points = work.reference_points[:, None, :, None, None] + work.offsets
    sums = [
        numba_sampling.NumbaSampling.apply(level, points[:, index], work.weights[:, index])
        for index, level in enumerate(maps)
    ]
    projected = [value(each) for value, each in zip(work.project, sums, strict=True)]
    return torch.stack(projected, dim=1).flatten(-2)


def outputs(work: Work) -> dict[str, Callable[[], Tensor]]:
    """Every way to do the work, by name; each gives [B, L, J, D]."""
    floats = [level.float() for level in work.halves]
    ways: dict[str, Callable[[], Tensor]] = {
        PUBLISHED[0]: lambda: work.published(work.first),
        PUBLISHED[1]: lambda: work.published([level.permute(0, 3, 1, 2) for level in floats]),
        "published, from float16": lambda: work.published(
            [level.float().permute(0, 3, 1, 2) for level in work.halves]
        ),
        "reference, float16": lambda: work.fused(work.halves, "reference"),
    }
    if is_built():
        ways[OURS[0]] = lambda: work.fused(work.halves, "cpu")
        ways[OURS[1]] = lambda: work.fused(work.codes, "cpu", scaled=True)
    if numba_sampling is not None:
        ways[NUMBA] = lambda: with_numba(work, floats)
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
        rows += measured(Work(batch, CPU), batch=batch, threads=chosen.threads, rounds=rounds)
    show("Sampling of four levels and projection", rows)
    if not chosen.quick:
        append_rows("deform_sample-cpu", rows, packages=("numpy", "torch", "numba"))


if __name__ == "__main__":
    main()
