"""The page of measured numbers, of the files that `make bench` writes; nothing is typed by hand."""

from __future__ import annotations

import ast
import csv
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ("work", "contender", "value", "unit", "ratio", "baseline", "goal", "spread")
"""Columns of a figure; all others of a file say when and where it was measured."""
_INTRODUCTION = """# Benchmarks

Made of the files in `benchmarks/results` when this site is built. `make bench` measures all of it
anew and appends to those files; the experiments on accuracy are in the [README](readme.md#results).
Values are medians of repeats that take turns with their baseline; *spread* is the largest minus the
smallest repeat, divided by the median; *ratio* is against the baseline of the same run, larger is
better.
"""


def page() -> str:
    """Return the page's markdown."""
    parts = [_INTRODUCTION]
    for path in sorted(RESULTS.glob("*.csv")):
        parts += [f"## {title_of(path)}\n", _about(path), *_tables(path)]
        chart = path.with_suffix(".png")
        if chart.exists():
            parts.append(f"![{title_of(path)}](results/{chart.name})\n")
    for path in sorted(RESULTS.glob("*.md")):
        text = re.sub(r"^<!--.*?-->\n", "", path.read_text("utf-8"), flags=re.M)
        parts.append(re.sub(r"^#", "##", text, flags=re.M))
    return "\n".join(parts)


def pictures() -> list[Path]:
    """Return the charts beside the tables."""
    return sorted(RESULTS.glob("*.png"))


def title_of(path: Path) -> str:
    """Return the heading of a file's figures: benchmark and device."""
    name, _, device = path.stem.partition("-")
    return f"{name.replace('_', ' ')}, {device.upper()}"


def machine_of(row: dict[str, str]) -> str:
    """Return when, where and with which versions a row was measured, as its columns say."""
    versions = [f"{name} {value}" for name, value in row.items() if name not in FIGURES]
    return ", ".join(versions)


def _about(path: Path) -> str:
    module = ROOT / "benchmarks" / f"{path.stem.partition('-')[0]}.py"
    if not module.exists():
        return ""
    first = (ast.get_docstring(ast.parse(module.read_text("utf-8"))) or "").split("\n\n")[0]
    return f"{' '.join(first.split())} `python -m benchmarks.{module.stem}`\n"


def _tables(path: Path) -> Iterator[str]:
    """Yield a table for each run: rows of one date, machine and set of versions."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for machine, group in groupby(rows, key=machine_of):
        lines = [
            "| work | contender | median | ratio | goal | spread |",
            "|---|---|--:|--:|--:|--:|",
        ]
        for _, same in groupby(group, key=lambda row: row["work"]):
            lines += [_line(row, said=i > 0) for i, row in enumerate(same)]
        yield f"*{machine}*\n\n" + "\n".join(lines) + "\n"


def _line(row: dict[str, str], *, said: bool) -> str:
    value = f"{float(row['value']):,.4g} {row['unit']}" if row["value"] else "not measured"
    ratio = f"{float(row['ratio']):.2f} of {row['baseline']}" if row["ratio"] else ""
    spread = f"{100 * float(row['spread']):.0f} %" if row["spread"] else ""
    cells = ("" if said else row["work"], row["contender"], value, ratio, row["goal"], spread)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
