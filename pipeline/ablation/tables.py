"""The result of a comparison as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.ablation.published_numbers import LABEL, published_numbers
from pipeline.ablation.result import MEANS
from pipeline.runs.tables import spread
from pipeline.table_style import new_table

METRIC_NAMES = {
    "mpjpe_mm": "MPJPE",
    "p_mpjpe_mm": "P-MPJPE",
    "n_mpjpe_mm": "N-MPJPE",
    "mpjve_mm": "MPJVE",
}
_INPUTS = {
    "lifter": "lifter",
    "context": "context",
    "keypoint_source": "keypoints",
    "feature_source": "features",
    "box_source": "box",
}


def comparison_table(result: Mapping[str, Any]) -> Table:
    """Return the rows of a comparison: inputs, errors on every test split, size and time.

    An input that is the same in every row is said once, below.
    """
    rows = result["rows"]
    differing = [key for key in _INPUTS if len({row[key] for row in rows}) > 1]
    has_papers = any(row["published"] for row in rows)
    errors = [
        f"{METRIC_NAMES[metric]}\n{split}"
        for metric in result["columns"]
        for split in result["splits"]
    ]
    table = new_table(
        "row",
        *(_INPUTS[key] for key in differing),
        numbers=(*errors, "parameters", "train\ns", "wait\n%"),
        title=_title(result),
        notes="\n".join(_captions(result, differing)),
    )
    if has_papers:
        table.add_column(LABEL.replace(", ", ",\n"), justify="right", style="dim")
    for row in rows:
        cells = [row["name"], *(str(row[key]) for key in differing)]
        cells += [
            _errors_text(row, split, MEANS[result["mean_over"]], metric)
            for metric in result["columns"]
            for split in result["splits"]
        ]
        done = [run for run in row["runs"] if run["error"] is None]
        cells.append("-" if row["num_parameters"] is None else f"{row['num_parameters']:,}")
        cells.append(_mean_text([run["train_seconds"] for run in done], ".0f"))
        cells.append(_mean_text([100 * run["wait_fraction"] for run in done], ".1f"))
        if has_papers:
            cells.append(_paper_text(row["published"], result["columns"]))
        table.add_row(*cells)
    return table


def difference_table(result: Mapping[str, Any]) -> Table:
    """Return the per-clip differences of a comparison with their bootstrap intervals."""
    table = new_table(
        "difference of MPJPE per clip",
        numbers=result["splits"],
        title="negative: the first is better; 95 % intervals by bootstrap over clips and seeds",
    )
    for difference in result["differences"]:
        cells = []
        for split in result["splits"]:
            found = difference["splits"].get(split)
            if found is None:
                cells.append(f"runs of {', '.join(difference['missing'])} failed")
                continue
            low, high = found["low_mm"], found["high_mm"]
            cells.append(f"{found['mean_mm']:+.1f} mm  [{low:+.1f}, {high:+.1f}]")
        table.add_row(f"{difference['a']} - {difference['b']}", *cells)
    return table


def tuning_table(result: Mapping[str, Any]) -> Table:
    """Return the validation MPJPE of every row with every learning rate that was tried."""
    rates = [one["lr"] for one in result["rows"][0]["tuning"]]
    table = new_table(
        "row",
        numbers=(*(f"{rate:g}" for rate in rates), "taken"),
        title="validation MPJPE in mm by learning rate, first seed; each row takes its best",
    )
    for row in result["rows"]:
        errors = [one["validation_mpjpe_mm"] for one in row["tuning"]]
        cells = ["failed" if error is None else f"{error:.1f}" for error in errors]
        table.add_row(row["name"], *cells, f"{row['lr']:g}")
    return table


def _title(result: Mapping[str, Any]) -> str:
    num_seeds = len(result["seeds"])
    over = f"mean ± s.d. over {num_seeds} seeds" if num_seeds > 1 else "one seed"
    what = f"{result['ladder']} on " if result["ladder"] else ""
    means = {"actions": "action-wise (mean of the actions)", "frames": "frame-wise"}
    return f"{what}{result['store']}: error in mm, {means[result['mean_over']]}, {over}"


def _captions(result: Mapping[str, Any], differing: Sequence[str]) -> list[str]:
    rows = result["rows"]
    same = [f"{_INPUTS[key]} {rows[0][key]}" for key in _INPUTS if key not in differing]
    lines = [f"in every row: {', '.join(same)}"] if same else []
    lines += dict.fromkeys(note for row in rows for note in row["notes"])
    for row in rows:
        lines += [
            f"{row['name']}, seed {run['seed']}: {run['error']}"
            for run in row["runs"]
            if run["error"]
        ]
    return lines + _paper_lines(result)


def _paper_lines(result: Mapping[str, Any]) -> list[str]:
    shown = {row["name"] for row in result["rows"]}
    lines = []
    if result["published_note"]:
        lines.append(result["published_note"])
    for row in result["rows"]:
        notes = dict.fromkeys(one["note"] for one in row["published"] if one["note"])
        lines += [f"{row['name']}: {note}" for note in notes]
    for name, numbers in published_numbers(result["ladder"]).items():
        if name not in shown:
            given = _paper_text([number.as_json() for number in numbers], ())
            lines.append(f"{name}, not run here: {given} mm")
    return [f"{LABEL}: {line}" for line in lines]


def _errors_text(row: Mapping[str, Any], split: str, mean: str, metric: str) -> str:
    values = row["errors_mm"].get(split, {}).get(mean, {}).get(metric, [])
    if not values or any(value is None for value in values):
        return "failed" if not row["seeds_done"] else "-"
    num_failed = len(row["runs"]) - len(values)
    lost = f" ({num_failed} of {len(row['runs'])} failed)" if num_failed else ""
    return spread(values) + lost


def _mean_text(values: Sequence[float], form: str) -> str:
    return f"{sum(values) / len(values):{form}}" if values else "-"


def _paper_text(numbers: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """Numbers of the columns; of all metrics where no columns are given."""
    chosen = [one for one in numbers if not columns or one["metric"] in columns]
    return ", ".join(f"{METRIC_NAMES[one['metric']]} {one['text']}" for one in chosen)
