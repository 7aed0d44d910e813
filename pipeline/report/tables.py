"""Tables of a page: text, and how long the bar behind a number is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.runs.comparison import METRICS
from pipeline.runs.comparison_tables import letters

METRIC_NAMES = {
    "mpjpe_mm": "MPJPE [mm]",
    "p_mpjpe_mm": "P-MPJPE [mm]",
    "n_mpjpe_mm": "N-MPJPE [mm]",
    "mpjve_mm": "MPJVE [mm/frame]",
    "pck": "PCK [%]",
    "auc": "AUC [%]",
}


@dataclass(frozen=True)
class Cell:
    """One cell: its text, a bar from 0 to 1 behind it, a tone for its colour."""

    text: str
    bar: float | None = None
    tone: str = ""  # "better", "worse", "left", "right", or nothing

    @property
    def bar_percent(self) -> str:
        """Length of the bar as CSS has it."""
        return f"{100 * (self.bar or 0.0):.1f}%"


@dataclass(frozen=True)
class HtmlTable:
    """A table; the first `num_words` columns hold words, the others numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    num_words: int = 1


def metric_text(name: str, value: float | None, *, sign: bool = False) -> str:
    """Return a metric to one decimal, in mm or in percent; `-` where there is none."""
    if value is None:
        return "-"
    scaled = value if name.endswith("_mm") else 100.0 * value
    return f"{scaled:+.1f}" if sign else f"{scaled:.1f}"


def means_table(metrics: Mapping[str, Any]) -> HtmlTable:
    """Return the means of every split over frames and over actions, and of the last epoch."""
    rows = []
    last = metrics.get("last")
    for split, found in metrics["splits"].items():
        for mean, over in (("frame_wise", "frames"), ("action_wise", "actions")):
            rows.append(_means_row(split, over, found["num_frames"], found[mean]))
        for mean, over in (("frame_wise", "frames"), ("action_wise", "actions")):
            if "before_refinement" in found:
                before, words = found["before_refinement"][mean], f"{over}, before refinement"
                rows.append(_means_row(split, words, found["num_frames"], before))
        if last and last["epoch"] != metrics["epoch"] and split in last["splits"]:
            means = last["splits"][split]["frame_wise"]
            words = f"frames, epoch {last['epoch']}"
            rows.append(_means_row(split, words, found["num_frames"], means))
    threshold = metrics.get("evaluate", {}).get("pck_threshold_mm", 150.0)
    return HtmlTable(
        title="Means",
        columns=("split", "mean over", "frames", *METRIC_NAMES.values()),
        rows=tuple(rows),
        caption=f"PCK counts joints within {threshold:g} mm; AUC is its mean over thresholds.",
        num_words=2,
    )


def group_table(
    title: str,
    groups: Mapping[str, Mapping[str, Any]],
    kind: str,
    *,
    metrics: Sequence[str] = METRICS,
) -> HtmlTable:
    """Return the metrics of every action or subject; bars behind the first, which is in mm."""
    first = metrics[0]
    largest = max((group[first] for group in groups.values()), default=1.0) or 1.0
    rows = tuple(
        (
            Cell(name),
            Cell(f"{group['num_frames']:,}"),
            Cell(metric_text(first, group[first]), bar=group[first] / largest),
            *(Cell(metric_text(key, group.get(key))) for key in metrics[1:]),
        )
        for name, group in groups.items()
    )
    return HtmlTable(title, (kind, "frames", *(METRIC_NAMES[key] for key in metrics)), rows)


def joint_table(
    per_joint: Sequence[Mapping[str, float]], sides: Mapping[str, str], title: str
) -> HtmlTable:
    """Return the MPJPE of every joint, a column for each run; `sides` colours the bars."""
    largest = max((max(found.values(), default=0.0) for found in per_joint), default=1.0) or 1.0
    rows = tuple(
        (
            Cell(joint),
            *(
                Cell(f"{found[joint]:.1f}", bar=found[joint] / largest, tone=sides.get(joint, ""))
                for found in per_joint
            ),
        )
        for joint in per_joint[0]
    )
    columns = (
        ["MPJPE [mm]"] if len(per_joint) == 1 else [f"{x} [mm]" for x in letters(len(per_joint))]
    )
    return HtmlTable(title, ("joint", *columns), rows)


def compared_groups(
    title: str, groups: Sequence[Mapping[str, Mapping[str, Any]]], kind: str
) -> HtmlTable:
    """Return the MPJPE of every action or subject, a column for each run, changes in brackets."""
    names = letters(len(groups))
    rows = []
    for group, found in groups[0].items():
        base = found["mpjpe_mm"]
        cells = [Cell(group), Cell(f"{found['num_frames']:,}"), Cell(f"{base:.1f}")]
        for other in groups[1:]:
            value = other[group]["mpjpe_mm"] if group in other else None
            text = "-" if value is None else f"{value:.1f} ({value - base:+.1f})"
            cells.append(Cell(text, tone=_tone(None if value is None else value - base)))
        rows.append(tuple(cells))
    columns = (kind, "frames", *(f"{name} [mm]" for name in names))
    return HtmlTable(title, columns, tuple(rows), caption="MPJPE; in brackets the change against A")


def change_table(result: Mapping[str, Any], split: str) -> HtmlTable:
    """Return all metrics of all runs on a split, and the interval of the change against the first.

    Args:
        result: of `pipeline.runs.comparison.compare_runs`.
        split: name of a split of the first run.
    """
    changes = {other["run"]: other["splits"].get(split) for other in result["others"]}
    rows = []
    for letter, run in zip(letters(len(result["runs"])), result["runs"], strict=True):
        if split not in run["splits"]:
            continue
        against = changes.get(run["run"])
        interval, tone = "", ""
        if against:
            low, high = against["low_mm"], against["high_mm"]
            interval = f"{against['difference_mm']:+.1f} [{low:+.1f}, {high:+.1f}]"
            tone = _tone(against["difference_mm"]) if against["resolved"] else ""
        for mean, over in (("frame_wise", "frames"), ("action_wise", "actions")):
            found = run["splits"][split][mean]
            change = Cell(interval if over == "frames" else "", tone=tone)
            values = (Cell(metric_text(name, found.get(name))) for name in METRICS)
            rows.append((Cell(letter), Cell(over), *values, change))
    return HtmlTable(
        title=split,
        columns=("run", "mean over", *METRIC_NAMES.values(), "change of MPJPE against A [mm]"),
        rows=tuple(rows),
        caption=(
            "In square brackets the 95 % interval of the change over frames, by bootstrap over"
            " clips; coloured where it leaves zero out."
        ),
        num_words=2,
    )


def words_table(title: str, rows: Iterable[tuple[str, ...]], columns: tuple[str, ...]) -> HtmlTable:
    """Return a table of words only."""
    cells = tuple(tuple(Cell(text) for text in row) for row in rows)
    return HtmlTable(title, columns, cells, num_words=len(columns))


def _means_row(
    split: str, over: str, num_frames: int, means: Mapping[str, float | None]
) -> tuple[Cell, ...]:
    values = (Cell(metric_text(name, means.get(name))) for name in METRICS)
    return (Cell(split), Cell(over), Cell(f"{num_frames:,}"), *values)


def _tone(change: float | None) -> str:
    if change is None or change == 0:
        return ""
    return "better" if change < 0 else "worse"
