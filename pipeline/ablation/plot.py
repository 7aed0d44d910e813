"""A comparison as a picture: a point per seed, the mean, and beside it what papers report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.ablation.published_numbers import LABEL
from pipeline.ablation.result import MEANS
from pipeline.ablation.tables import METRIC_NAMES
from pipeline.figure_files import write_figure

PLOT_FILE = "comparison.png"
_COLOURS = ("#1f6f8b", "#d1702b", "#5b8c3a", "#7a4f9a")
_PAPER_COLOUR = "#666666"
_DPI = 130
_ROW_INCHES, _PANEL_INCHES, _PAPER_INCHES = 0.42, 3.6, 2.6
_LEAST_INCHES = 9.0
"""Width that title and legend need."""


def plot_comparison(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture; raises UnwritableTarget.

    One panel per error of ours, which share their rows, and one for the numbers of papers, hollow
    and on an axis of its own: they are of other data.
    """
    rows, columns = result["rows"], result["columns"]
    papers = any(_papers(row, columns) for row in rows)
    widths = [_PANEL_INCHES] * len(columns) + [_PAPER_INCHES] * papers
    names_inches = 0.085 * max(len(row["name"]) for row in rows)
    width = max(sum(widths) + names_inches + 0.4, _LEAST_INCHES)
    figure = Figure(
        figsize=(width, 1.9 + _ROW_INCHES * len(rows)),
        layout="constrained",
    )
    panels = figure.subplots(1, len(widths), sharey=True, width_ratios=widths, squeeze=False)[0]
    for panel, metric in zip(panels, columns, strict=False):
        _draw_errors(panel, result, metric)
    if papers:
        _draw_papers(panels[-1], rows, columns)
    panels[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    what = f"{result['ladder']} on {result['store']}" if result["ladder"] else result["store"]
    mean = "mean of actions" if result["mean_over"] == "actions" else "mean of frames"
    seeds = ", ".join(map(str, result["seeds"]))
    title = f"{what}: {mean}, seed{'s' if len(result['seeds']) > 1 else ''} {seeds}"
    figure.suptitle(title, fontsize=11)
    write_figure(figure, path, dpi=_DPI)


def _draw_errors(panel: Axes, result: Mapping[str, Any], metric: str) -> None:
    mean = MEANS[result["mean_over"]]
    splits = result["splits"]
    for index, split in enumerate(splits):
        colour = _COLOURS[index % len(_COLOURS)]
        # Splits of one row lie below each other.
        shift = 0.28 * (index - (len(splits) - 1) / 2) if len(splits) > 1 else 0.0
        for y, row in enumerate(result["rows"]):
            values = row["errors_mm"].get(split, {}).get(mean, {}).get(metric, [])
            if not values or any(value is None for value in values):
                continue
            average = sum(values) / len(values)
            panel.plot(values, [y + shift] * len(values), "o", color=colour, ms=5, alpha=0.4, mew=0)
            panel.plot(average, y + shift, "|", color=colour, ms=13, mew=2.2)
            panel.annotate(
                f"{average:.1f}",
                (max(values), y + shift),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=colour,
            )
        panel.plot([], [], "o", color=colour, ms=5, alpha=0.4, mew=0, label=f"{split}, a seed")
        panel.plot([], [], "|", color=colour, ms=13, mew=2.2, label=f"{split}, mean")
    for y, row in enumerate(result["rows"]):
        if not row["seeds_done"]:
            panel.annotate(
                "failed", (0.02, y), xycoords=("axes fraction", "data"), va="center", fontsize=8
            )
    _finish(panel, f"{METRIC_NAMES[metric]}, mm")


def _draw_papers(panel: Axes, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    shapes = dict(zip(columns, "sD^v", strict=False))
    used = []
    shown = [number for row in rows for number in _papers(row, columns)]
    changes = all(number["change"] for number in shown)
    for y, row in enumerate(rows):
        for number in _papers(row, columns):
            if number["change"] and not changes:  # not on an axis of errors
                text, at = f"change {number['text']}", (0.04, y)
                place = ("axes fraction", "data")
                panel.annotate(
                    text, at, xycoords=place, va="center", fontsize=8, color=_PAPER_COLOUR
                )
                continue
            ends = [number["low_mm"], number["high_mm"] or number["low_mm"]]
            label = METRIC_NAMES[number["metric"]]
            panel.plot(
                ends,
                [y, y],
                shapes[number["metric"]],
                color=_PAPER_COLOUR,
                mfc="none",
                ms=6.5,
                ls="-" if number["high_mm"] else "none",
                label=None if label in used else label,
            )
            used.append(label)
            panel.annotate(
                number["text"],
                (ends[-1], y),
                xytext=(7, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=_PAPER_COLOUR,
            )
    if len(set(used)) > 1:
        panel.legend(fontsize=8, frameon=False)
    _finish(panel, "change of MPJPE, mm" if changes else "mm")
    panel.set_title(LABEL, fontsize=10, color=_PAPER_COLOUR)
    panel.set_facecolor("#f6f6f4")


def _papers(row: Mapping[str, Any], columns: Sequence[str]) -> list[Mapping[str, Any]]:
    return [number for number in row["published"] if number["metric"] in columns]


def _finish(panel: Axes, label: str) -> None:
    panel.set_xlabel(label)
    panel.margins(x=0.2)
    panel.grid(axis="x", color="#dddddd", lw=0.7)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.tick_params(axis="y", length=0)
