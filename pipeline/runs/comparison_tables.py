"""Runs against the first of them, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rich.table import Table

from pipeline.runs.comparison import METRICS
from pipeline.table_style import new_table

_WIDE = 140
"""Letters from which on a terminal has room for names beside everything else."""
_NAMES = ("MPJPE", "P-MPJPE", "N-MPJPE", "MPJVE", "PCK", "AUC")


def letters(count: int) -> list[str]:
    """Return A, B, ... Z, R27, R28 ... for so many runs."""
    return [ascii_uppercase[i] if i < len(ascii_uppercase) else f"R{i + 1}" for i in range(count)]


def runs_table(result: Mapping[str, Any], width: int = _WIDE) -> Table:
    """Return one line per run: its letter, what it reads, and which epoch was kept.

    In a terminal that is narrow, so many letters wide, names stand below the table.
    """
    named = list(zip(letters(len(result["runs"])), result["runs"], strict=True))
    notes = dict.fromkeys(f"{letter}: {note}" for letter, run in named for note in run["notes"])
    names = {letter: Path(run["run"]).name for letter, run in named}
    column = ("run",) if width >= _WIDE else ()
    if not column:
        notes = {f"{letter}: {name}": None for letter, name in names.items()} | notes
    table = new_table(
        *("", *column, "lifter", "keypoints", "features", "boxes", "context"),
        numbers=("seed", "epoch", "last epoch", "parameters"),
        title="runs",
        notes="\n".join(notes),
    )
    for letter, run in named:
        table.add_row(
            letter,
            *(names[letter] for _ in column),
            run["lifter"],
            run["keypoint_source"],
            run["feature_source"] or "none",
            run["box_source"],
            run["context"] or "none",
            str(run["seed"]),
            str(run["epoch"]),
            str(run["last"]["epoch"]) if run["last"] else "-",
            f"{run['num_parameters']:,}",
        )
    return table


def change_table(result: Mapping[str, Any], split: str) -> Table:
    """Return the metrics of all runs on a split, and in brackets the change to the first.

    Green and red lines are those whose interval of the change of MPJPE leaves out zero.
    """
    table = new_table(
        "run",
        "mean over",
        numbers=(*_NAMES, "interval"),
        title=f"{split}, in brackets the change against A",
        notes="interval: 95 %, of the change of MPJPE over frames, by bootstrap over clips",
    )
    changes = {other["run"]: other["splits"].get(split) for other in result["others"]}
    for letter, run in zip(letters(len(result["runs"])), result["runs"], strict=True):
        if split not in run["splits"]:
            table.add_row(letter, "not evaluated")
            continue
        against = changes.get(run["run"])
        style, interval = None, ""
        if against:
            interval = f"{against['low_mm']:+.1f} .. {against['high_mm']:+.1f}"
            if against["resolved"]:
                style = "green" if against["difference_mm"] < 0 else "red"
        for mean, label, over in (("frame_wise", letter, "frames"), ("action_wise", "", "actions")):
            found = run["splits"][split][mean]
            change = against["metrics"][mean] if against else {}
            cells = [_cell(name, found.get(name), change.get(name)) for name in METRICS]
            table.add_row(label, over, *cells, interval if label else "", style=style)
    return table


def settings_table(settings: Mapping[str, Sequence[Any]], count: int) -> Table:
    """Return the settings in which the runs differ, a column for each run."""
    table = new_table("setting", *letters(count), title="settings that differ")
    for key, values in settings.items():
        table.add_row(key, *("-" if value is None else str(value) for value in values))
    return table


def _cell(name: str, value: float | None, change: Mapping[str, float | None] | None) -> str:
    if value is None:
        return "-"
    scale, unit = (1.0, "") if name.endswith("_mm") else (100.0, " %")
    text = f"{scale * value:.1f}{unit}"
    if change is None or change["change"] is None:
        return text
    return f"{text} ({scale * change['change']:+.1f})"
