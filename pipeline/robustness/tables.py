"""A sweep as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.robustness.degradations import Variant
from pipeline.robustness.labels import frames_label, lost_note, run_labels


def error_table(result: Mapping[str, Any]) -> Table:
    """Return MPJPE of every run at every strength, and the differences from the baseline.

    A star marks a difference whose 95 % interval leaves zero out.
    """
    labels, baseline = run_labels(result), result["baseline"]
    settings = result["settings"]
    table = Table(
        title=f"{settings['store']}: MPJPE in mm, {settings['num_rows']} frames",
        title_justify="left",
        caption="\n".join(_notes(result)) or None,
        caption_justify="left",
    )
    table.add_column("frames")
    table.add_column("2D error, px", justify="right")
    for label in labels.values():
        table.add_column(label, justify="right")
    others = [name for name in labels if baseline is not None and name != baseline]
    for name in others:
        table.add_column(f"{labels[name]} - {labels[str(baseline)]}", justify="right")
    before = None
    for entry in result["results"]:
        if before not in (None, entry["degradation"]):
            table.add_section()
        before = entry["degradation"]
        error = entry["error_2d_px"]
        table.add_row(
            frames_label(entry),
            f"{error['mean']:.1f}" if error else "-",
            *(f"{entry['runs'][name]['mpjpe_mm']:.1f}" if error else "-" for name in labels),
            *(signed(entry["differences"].get(name), "difference_mm") for name in others),
        )
    return table


def growth_table(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Table:
    """Return how much each run's MPJPE grew over undegraded frames, as `growth` says; mm.

    The last columns have how much more than that of the baseline.
    """
    labels, baseline = run_labels(result), result["baseline"]
    others = [name for name in labels if baseline is not None and name != baseline]
    table = Table(title="growth of MPJPE over undegraded frames, mm", title_justify="left")
    table.add_column("frames")
    for label in labels.values():
        table.add_column(label, justify="right")
    for name in others:
        table.add_column(f"{labels[name]} - {labels[str(baseline)]}", justify="right")
    for variant in dict.fromkeys(Variant(row["degradation"], row["strength"]) for row in rows):
        of_variant = {
            row["run"]: row
            for row in rows
            if (row["degradation"], row["strength"]) == (variant.degradation, variant.strength)
        }
        table.add_row(
            variant.label,
            *(f"{of_variant[name]['growth_mm']:+.1f}" for name in labels),
            *(signed(of_variant[name]["minus_baseline"], "difference_mm") for name in others),
        )
    return table


def signed(numbers: Mapping[str, float] | None, key: str) -> str:
    """Return a difference and its interval, with a star if that leaves zero out."""
    if not numbers:
        return "-"
    low, high = numbers["low_mm"], numbers["high_mm"]
    star = " *" if low < high and (low > 0 or high < 0) else "  "
    return f"{numbers[key]:+.1f} [{low:+.1f}, {high:+.1f}]{star}"


def _notes(result: Mapping[str, Any]) -> list[str]:
    lost = lost_note(result)
    return [*result["about"]["notes"], *([lost] if lost else [])]
