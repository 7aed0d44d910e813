"""Errors against strength: a panel per degradation, above a strip with that of the 2D joints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.figure_files import write_figure
from pipeline.robustness.degradations import CLEAN, DEGRADATIONS, Degradation, Variant
from pipeline.robustness.files import entries_by_variant
from pipeline.robustness.labels import run_labels

PLOT_FILE = "robustness.png"
_COLOURS = ("#1f6f8b", "#d1702b", "#5b8c3a", "#7a4f9a", "#a3475b", "#555555")
_GREY = "#777777"
_DPI = 100
_PANEL_INCHES = 2.9


def plot_result(result: Mapping[str, Any], path: Path) -> None:
    """Write the picture; raises UnwritableTarget.

    The panels share their axis of MPJPE; bands are 95 % intervals of the choice of clips.
    """
    entries = entries_by_variant(result)
    shown = [each for each in DEGRADATIONS if any(v.degradation == each.name for v in entries)]
    figure = Figure(figsize=(max(_PANEL_INCHES * len(shown) + 0.6, 6.0), 5.0), layout="constrained")
    columns = max(len(shown), 1)
    top = figure.add_gridspec(2, columns, height_ratios=(3.2, 1.0))
    first: Axes | None = None
    for index, degradation in enumerate(shown):
        panel = figure.add_subplot(top[0, index], sharey=first)
        first = first or panel
        strip = figure.add_subplot(top[1, index], sharex=panel)
        points = _points(entries, degradation)
        _draw_errors(panel, points, result)
        _draw_strip(strip, points)
        panel.set_title(degradation.title, fontsize=10)
        strip.set_xlabel(degradation.unit, fontsize=9)
        strip.set_xticks([x for x, _ in points], [f"{x:g}" for x, _ in points], fontsize=8)
        panel.tick_params(labelbottom=False, labelleft=index == 0, labelsize=8)
        strip.tick_params(axis="y", labelsize=8)
        if index == 0:
            panel.set_ylabel("MPJPE, mm")
            strip.set_ylabel("2D error,\ncrop px", fontsize=9, color=_GREY)
    if first is not None:
        handles, labels = first.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    settings, lost = result["settings"], any(entry["lost_rows"] for entry in entries.values())
    figure.suptitle(
        f"{settings['store']}: {settings['num_rows']} frames of {', '.join(settings['splits'])}"
        f" ({result['about']['num_clips']} clips); bands: 95 % interval over clips"
        + ("; fewer frames where some could not be used" if lost else ""),
        fontsize=10,
    )
    write_figure(figure, path, dpi=_DPI)


def _points(
    entries: Mapping[Variant, Mapping[str, Any]], degradation: Degradation
) -> list[tuple[float, Mapping[str, Any]]]:
    """Return strengths with their results, undegraded first, without those that lost all frames."""
    found = [(v.strength, e) for v, e in entries.items() if v.degradation == degradation.name]
    if CLEAN in entries:
        found.append((degradation.neutral, entries[CLEAN]))
    return [(strength, e) for strength, e in sorted(found, key=lambda p: p[0]) if e["runs"]]


def _draw_errors(
    panel: Axes, points: list[tuple[float, Mapping[str, Any]]], result: Mapping[str, Any]
) -> None:
    strengths = [strength for strength, _ in points]
    for index, (name, label) in enumerate(run_labels(result).items()):
        colour = _COLOURS[index % len(_COLOURS)]
        of_run = [entry["runs"][name] for _, entry in points]
        panel.fill_between(
            strengths,
            [each["low_mm"] for each in of_run],
            [each["high_mm"] for each in of_run],
            color=colour,
            alpha=0.15,
            lw=0,
        )
        means = [each["mpjpe_mm"] for each in of_run]
        panel.plot(strengths, means, "o-", color=colour, ms=4, lw=1.8, label=label)
    _finish(panel)


def _draw_strip(strip: Axes, points: list[tuple[float, Mapping[str, Any]]]) -> None:
    errors = [entry["error_2d_px"]["mean"] for _, entry in points]
    strip.plot([strength for strength, _ in points], errors, "o-", color=_GREY, ms=3, lw=1.0)
    strip.set_ylim(0.0, max(errors, default=1.0) * 1.15)
    _finish(strip)


def _finish(panel: Axes) -> None:
    panel.grid(axis="y", color="#dddddd", lw=0.7)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)
