"""deform_sample on the CPU against four `F.grid_sample` calls with projection, as published.

Run: `python -m benchmarks.deform_sample [--threads N]`. Backends and baseline take turns, so that a
machine that drifts drifts for all; the figures are medians of forward + backward.
"""

from __future__ import annotations

import argparse
import csv
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter.ops import deform_sample
from lifter.ops.cpu import is_built

RESULTS = Path(__file__).parent / "results" / "deform_sample-cpu.csv"
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


def _seconds(forward: Callable[[], Tensor]) -> float:
    start = time.perf_counter()
    forward().backward()
    return time.perf_counter() - start


def main() -> None:
    """Print and append one row per batch size and backend."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    machine = {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": arguments.threads,
    }
    rows = []
    for batch in (1, 8, 64):
        work = Work(batch)
        contenders: dict[str, Callable[[], Tensor]] = {
            "published": work.published,
            "reference": lambda work=work: work.fused("reference"),
        }
        if is_built():
            contenders["cpu"] = lambda work=work: work.fused("cpu")
        times: dict[str, list[float]] = {name: [] for name in contenders}
        for _ in range(arguments.rounds + 2):
            for name, forward in contenders.items():
                times[name].append(_seconds(forward))
        medians = {name: statistics.median(values[2:]) for name, values in times.items()}
        for name in contenders:
            ratio = medians["published"] / medians[name]
            print(f"B={batch:<3} {name:<10} {medians[name] * 1e3:8.2f} ms  {ratio:5.2f}x")
            rows.append(
                {
                    **machine,
                    "batch": batch,
                    "backend": name,
                    "median_ms": round(medians[name] * 1e3, 3),
                    "times_published": round(ratio, 2),
                }
            )
    RESULTS.parent.mkdir(exist_ok=True)
    new = not RESULTS.exists()
    with RESULTS.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        if new:
            writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
