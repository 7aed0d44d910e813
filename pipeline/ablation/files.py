"""A comparison as csv: a line per run, and a line per row."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from pipeline.ablation.result import MEANS, METRICS
from pipeline.errors import UnwritableTarget

RUNS_FILE, SUMMARY_FILE = "comparison.csv", "summary.csv"
_INPUTS = (
    "lifter",
    "num_frames",
    "context",
    "keypoint_source",
    "feature_source",
    "box_source",
    "store",
    "lr",
)


def write_tables(folder: Path, result: Mapping[str, Any]) -> dict[str, str]:
    """Write both files and return their paths; raises UnwritableTarget."""
    files = {RUNS_FILE: list(run_lines(result)), SUMMARY_FILE: list(summary_lines(result))}
    for name, lines in files.items():
        _write(folder / name, lines)
    return {name: str(folder / name) for name in files}


def run_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a line per run: errors are called `<split> <mean> <metric>`; None: there is none."""
    for row in result["rows"]:
        done = 0
        for run in row["runs"]:
            line = {"row": row["name"], "seed": run["seed"], "error": run["error"]}
            line |= {key: row[key] for key in _INPUTS}
            names = ("num_parameters", "best_epoch", "train_seconds", "wait_fraction")
            line |= {key: run[key] for key in names}
            for key, values in _errors(row, result["errors_of"]):
                line[key] = None if run["error"] or not values else values[done]
            done += run["error"] is None
            yield {**line, "run_dir": run["run_dir"]}


def summary_lines(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a line per row: mean and standard deviation over its seeds.

    The numbers of papers have columns of their own, whose names say so.
    """
    papers = sorted({_paper_key(one) for row in result["rows"] for one in row["published"]})
    for row in result["rows"]:
        done = [run for run in row["runs"] if run["error"] is None]
        line = {
            "row": row["name"],
            **{key: row[key] for key in _INPUTS},
            "num_parameters": row["num_parameters"],
            "seeds": len(row["runs"]),
            "seeds_failed": len(row["runs"]) - len(done),
            "train_seconds": _mean([run["train_seconds"] for run in done]),
            "wait_fraction": _mean([run["wait_fraction"] for run in done]),
        }
        for key, values in _errors(row, result["errors_of"]):
            line[f"{key} mean"] = _mean(values)
            line[f"{key} sd"] = _deviation(values)
        line |= dict.fromkeys(papers)
        line |= {_paper_key(one): one["text"] for one in row["published"]}
        yield line


def _errors(
    row: Mapping[str, Any], splits: Sequence[str]
) -> Iterator[tuple[str, Sequence[float | None]]]:
    for split in splits:
        for mean in MEANS.values():
            for metric in METRICS:
                found = row["errors_mm"].get(split, {}).get(mean, {}).get(metric, [])
                yield f"{split} {mean} {metric}", found


def _paper_key(number: Mapping[str, Any]) -> str:
    change = " change" if number["change"] else ""
    return f"{number['label']}: {number['metric']}{change}"


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return fmean(there) if there and len(there) == len(values) else None


def _deviation(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return stdev(there) if len(there) > 1 and len(there) == len(values) else None


def _write(path: Path, lines: Sequence[Mapping[str, Any]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    try:
        path.write_text(text.getvalue(), "utf-8")
    except OSError as error:
        raise UnwritableTarget(
            f"{path}: cannot be written ({error.strerror or error}). Free some space and run again."
        ) from error
