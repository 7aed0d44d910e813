"""deform_sample on a GPU against `F.grid_sample` with projection, and mmcv's `ms_deform_attn`.

Run: `python -m benchmarks.deform_sample_gpu [--quick]`; without a CUDA device it measures nothing.
Times are those of CUDA events around several calls in a row, on inputs that take turns until they
are several times the size of the L2 cache.

Sampling and projection: HRNet-W32 levels, 17 joints, 4 heads of 4 points, tokens [B, L, J, 128].
The published way is given maps that are ready, channels first, in float32 and in float16 (with
points in float16, less exact); the faster is the baseline.

Projected values: mmcv's kernel sums over levels, samples 32 channels per head from values that were
projected cell by cell, and computes the gradient of the values too. Ours sums the same values.

Bytes per second: bytes that must move over the time of the op alone, as a share of what a copy
from device to device moves in the same run (bytes read and written). In the forward pass

    4 * B * J * (2 + 3 * L * M * K) + sum over levels of (cells * C * itemsize + 4 * B * J * M * C)

with the cells that are a corner of some point, each counted once; the backward pass reads the
gradient of the outputs in place of writing them, and writes 4 * B * 3 * L * J * M * K more.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.devices import device_name
from benchmarks.harness import NOT_MEASURED, Row, append_rows, arguments, compared, show
from benchmarks.memory import peak_bytes
from benchmarks.sampling_work import (
    MMCV,
    OURS,
    PROJECTED,
    PUBLISHED,
    Way,
    Work,
    moved_bytes,
    value_ways,
    ways,
)
from lifter.ops import gpu
from lifter.ops.deform_sample import _deform_sample_backward

BATCHES = (64, 256, 512, 1024, 4096)
PUBLISHED_GOAL, MMCV_GOAL = 5.0, 2.0
PACKAGES = ("torch", "triton", "mmcv")
CACHES = 4  # inputs that take turns are so many times the L2 cache
CALLS = 5  # in a row, per measured time


def device_seconds(
    contenders: dict[str, list[Callable[[], object]]], *, repeats: int, warm_up: int = 2
) -> dict[str, list[float]]:
    """Seconds per call, by contender; contenders take turns, and so do the inputs of each."""
    times: dict[str, list[float]] = {name: [] for name in contenders}
    turns = {name: itertools.cycle(calls) for name, calls in contenders.items()}
    for number in range(warm_up + repeats):
        for name, calls in turns.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            for _ in range(CALLS):
                next(calls)()
            end.record()
            end.synchronize()
            if number >= warm_up:
                times[name].append(start.elapsed_time(end) / 1000 / CALLS)
    return times


def copy_rate(device: torch.device, repeats: int) -> float:
    """Bytes per second, read and written, of a copy of a gigabyte from device to device."""
    source = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = device_seconds({"copy": [lambda: target.copy_(source)]}, repeats=repeats)
    return 2 * source.numel() / statistics.median(times["copy"])


def speed_rows(
    works: list[Work], passes: str, found: Callable[[Work], dict[str, Way]], repeats: int
) -> list[Row]:
    """Rows of samples per second of all ways, forward or forward + backward."""
    batch = len(works[0].reference_points)
    calls: dict[str, list[Callable[[], object]]] = {}
    for work in works:
        for name, way in found(work).items():
            call = without_gradients(way) if passes == "forward" else with_gradients(work, way)
            calls.setdefault(name, []).append(call)
    if not calls:
        return []
    times = device_seconds(calls, repeats=repeats)
    projected = found is value_ways
    peers = [name for name in ((MMCV,) if projected else PUBLISHED) if name in times]
    baseline = min(peers or times, key=lambda name: statistics.median(times[name]))
    goals = {PROJECTED: MMCV_GOAL} if projected else dict.fromkeys(OURS, PUBLISHED_GOAL)
    return compared(
        f"{'projected values' if projected else 'sampling + projection'}, {passes}, B={batch}",
        times,
        amount=batch,
        unit="samples/s",
        baseline=baseline,
        goals=goals if passes != "forward" and peers else None,
        absent=[name for name in ((MMCV, PROJECTED) if projected else OURS) if name not in times],
    )


def without_gradients(way: Way) -> Callable[[], object]:
    return torch.no_grad()(way)


def with_gradients(work: Work, way: Way) -> Callable[[], object]:
    """Both passes; gradients are dropped, not added up."""
    leaves = [work.offsets, work.weights, *work.project.parameters()]

    def call() -> object:
        return torch.autograd.grad(way().sum(), leaves, allow_unused=True)

    return call


def rate_rows(works: list[Work], copying: float, repeats: int) -> list[Row]:
    """Rows of bytes per second of the op alone, as shares of the copy's."""
    batch = len(works[0].reference_points)
    if not gpu.serves(works[0].halves, works[0].reference_points):
        return [Row(f"bytes moved by the op, B={batch}", "triton", None, "TB/s")]
    rows = []
    for name, of_dtype in (("float16", "halves"), ("bfloat16", "bfloats"), ("uint8", "codes")):
        calls: dict[str, list[Callable[[], object]]] = {"forward": [], "backward": []}
        for work in works:
            levels, scaled = getattr(work, of_dtype), name == "uint8"
            forward = lambda work=work, levels=levels, scaled=scaled: work.sums(  # noqa: E731
                levels, "triton", scaled=scaled
            )
            calls["forward"].append(without_gradients(forward))
            calls["backward"].append(backward_alone(work, levels, scaled=scaled))
        times = device_seconds(calls, repeats=repeats)
        moved = moved_bytes(works[0], getattr(works[0], of_dtype))
        for (passes, seconds), size in zip(times.items(), moved, strict=True):
            rate = size / statistics.median(seconds)
            rows.append(
                Row(
                    work=f"bytes moved by the op, {passes}, B={batch}",
                    contender=f"triton, {name}",
                    value=rate / 1e12,
                    unit="TB/s",
                    ratio=rate / copying,
                    baseline="device copy",
                    spread=(max(seconds) - min(seconds)) / statistics.median(seconds),
                )
            )
    return rows


def backward_alone(work: Work, levels: list[Tensor], *, scaled: bool) -> Callable[[], object]:
    """The backward pass on given gradients."""
    scales = work.scales if scaled else []
    points = [each.detach() for each in (work.reference_points, work.offsets, work.weights)]
    with torch.no_grad():
        grads = [torch.randn_like(each) for each in work.sums(levels, "triton", scaled=scaled)]
    return lambda: _deform_sample_backward(grads, levels, *points, scales, "border", True, "triton")


def memory_rows(work: Work) -> list[Row]:
    """Rows of peak memory above the inputs, forward + backward."""
    device = work.offsets.device
    peaks = {
        name: peak_bytes(with_gradients(work, way), device) / 1e6
        for name, way in ways(work).items()
    }
    what = f"peak extra memory, forward + backward, B={len(work.reference_points)}"
    best = min(PUBLISHED, key=lambda name: peaks[name])
    return [
        Row(what, name, peak, "MB", ratio=peaks[best] / peak, baseline=best)
        for name, peak in peaks.items()
    ]


def measured(batch: int, device: torch.device, copying: float, repeats: int) -> list[Row]:
    """All rows of one batch size."""
    cache = torch.cuda.get_device_properties(device).L2_cache_size
    first = Work(batch, device)
    size = sum(level.nbytes for level in first.codes)
    works = [
        first,
        *(Work(batch, device, seed=seed) for seed in range(1, 1 + CACHES * cache // size)),
    ]
    rows = memory_rows(first)
    for passes in ("forward", "forward + backward"):
        rows += speed_rows(works, passes, ways, repeats)
        rows += speed_rows(works, passes, value_ways, repeats)
    return rows + rate_rows(works, copying, repeats)


def main() -> None:
    """Print and record the rows of every batch size."""
    chosen = arguments(__doc__).parse_args()
    if not torch.cuda.is_available():
        print(f"deform_sample_gpu: {NOT_MEASURED}: no CUDA device")
        return
    device = torch.device("cuda", torch.cuda.current_device())
    repeats = 3 if chosen.quick else 15
    copying = copy_rate(device, repeats)
    rows = [Row("copy of a gigabyte", "device copy", copying / 1e12, "TB/s")]
    for batch in BATCHES[:1] if chosen.quick else BATCHES:
        rows += measured(batch, device, copying, repeats)
    name = device_name(device)
    show(f"Sampling on {torch.cuda.get_device_name(device)}", rows)
    if not chosen.quick:
        append_rows(f"deform_sample-{name}", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
