"""What every benchmark shares: contenders that take turns, medians, rows with machine and versions.

A benchmark is `python -m benchmarks.<name> [--quick]`: it prints a table and appends its rows to
`benchmarks/results/<name>-<device>.csv`. `--quick` uses small sizes and writes no file.
"""

from __future__ import annotations

import argparse
import csv
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from pipeline.commands.bench import ROWS_VARIABLE

RESULTS = Path(__file__).parent / "results"
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Row:
    """One figure.

    Args:
        work: what is done, e.g. `shuffled read, warm, B=128`.
        contender: who does it; the baseline is named in `baseline`.
        value: median, None for a peer that is not installed.
        unit: of the value, e.g. `frames/s`.
        ratio: value against the baseline's in the same run, larger is better; None without one.
        baseline: what the ratio is against.
        goal: smallest ratio that is wanted, None without one.
        spread: (largest - smallest) / median of the repeats.
    """

    work: str
    contender: str
    value: float | None
    unit: str
    ratio: float | None = None
    baseline: str = ""
    goal: float | None = None
    spread: float | None = None


def seconds_of(
    contenders: Mapping[str, Callable[[], object]],
    *,
    repeats: int = 7,
    warm_up: int = 1,
    before: Callable[[], object] | None = None,
) -> dict[str, list[float]]:
    """Seconds of every call, by contender.

    The contenders take turns, so that a machine that drifts drifts for all of them. `before` runs
    untimed ahead of every call (to drop pages, say); the first `warm_up` rounds are thrown away.
    """
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(warm_up + repeats):
        for name, call in contenders.items():
            if before is not None:
                before()
            start = time.perf_counter()
            call()
            elapsed = time.perf_counter() - start
            if number >= warm_up:
                times[name].append(elapsed)
    return times


def compared(
    work: str,
    times: Mapping[str, Sequence[float]],
    *,
    amount: float,
    unit: str,
    baseline: str,
    goals: Mapping[str, float] | None = None,
    absent: Sequence[str] = (),
) -> list[Row]:
    """Rows of rates, `amount` per call, each against the baseline's median of the same run."""
    base = amount / statistics.median(times[baseline])
    rows = []
    for name, seconds in times.items():
        median = statistics.median(seconds)
        rows.append(
            Row(
                work=work,
                contender=name,
                value=amount / median,
                unit=unit,
                ratio=amount / median / base,
                baseline=baseline,
                goal=(goals or {}).get(name),
                spread=(max(seconds) - min(seconds)) / median,
            )
        )
    rows += [Row(work, name, None, unit, baseline=baseline) for name in absent]
    return rows


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="Small sizes; writes no result file.")
    return parser


def machine(packages: Sequence[str] = ("numpy", "zarr")) -> dict[str, str]:
    """Date, processor, cores and versions, the first columns of every row of a result file."""
    versions = {}
    for name in packages:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = NOT_MEASURED
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.now(UTC).date().isoformat(),
        "processor": _processor(),
        "cores": str(cores),
        "python": platform.python_version(),
        **versions,
    }


def show(title: str, rows: Sequence[Row]) -> None:
    """Print the rows as a table."""
    table = Table(title=title, title_justify="left")
    for name in ("work", "contender", "median", "ratio", "goal", "spread"):
        table.add_column(name, justify="left" if name in ("work", "contender") else "right")
    for row in rows:
        value = NOT_MEASURED if row.value is None else f"{row.value:,.4g} {row.unit}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f} of {row.baseline}"
        goal = "" if row.goal is None else f"{row.goal:g}"
        spread = "" if row.spread is None else f"{100 * row.spread:.0f} %"
        table.add_row(row.work, row.contender, value, ratio, goal, spread)
    Console(width=150).print(table)
    if path := os.environ.get(ROWS_VARIABLE):
        with Path(path).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({"title": title, **asdict(row)}) + "\n" for row in rows)


def append_rows(
    name: str, rows: Sequence[Row], *, packages: Sequence[str] = ("numpy", "zarr")
) -> Path:
    """Append the rows to the result file `name`, made with its header if there is none."""
    path = RESULTS / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    host = machine(packages)
    lines = [{**host, **{key: _text(value) for key, value in vars(row).items()}} for row in rows]
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(lines[0]))
        if new:
            writer.writeheader()
        writer.writerows(lines)
    return path


def _text(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.5g}" if isinstance(value, float) else str(value)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
