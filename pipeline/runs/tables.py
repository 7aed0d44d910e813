"""Results as tables for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table

from pipeline.doctor import Finding
from pipeline.table_style import new_table

if TYPE_CHECKING:
    from stages.lift.fit.optimizer import ParameterGroup

_STYLES = {"ok": "green", "note": "yellow", "bad": "red"}


def doctor_table(findings: Sequence[Finding]) -> Table:
    """Return one line per finding; lines to be mended are red."""
    table = new_table("check", "", "value", title="posecache doctor")
    for finding in findings:
        table.add_row(finding.name, finding.level, finding.value, style=_STYLES[finding.level])
    return table


def spread(values: Sequence[float]) -> str:
    """Return `mean +- standard deviation` over seeds, or the one value."""
    mean = sum(values) / len(values)
    if len(values) < 2:
        return f"{mean:.1f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.1f} ± {variance**0.5:.1f}"


def seconds_text(seconds: Mapping[str, float]) -> str:
    """Return e.g. `extract 61 s, train and evaluate 320 s`."""
    return ", ".join(f"{name} {value:.0f} s" for name, value in seconds.items())


_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck", "auc")
_METRIC_NAMES = ("MPJPE", "P-MPJPE", "N-MPJPE", "MPJVE", "PCK", "AUC")


def split_table(metrics: Mapping[str, Any]) -> Table:
    """Return the means of every split over frames and over actions; mm, and % for PCK and AUC.

    Below those of the epoch that was kept are those before its refinement, if it was refined, and
    those of the last epoch, where it is another.
    """
    last = metrics.get("last")
    if last and last["epoch"] == metrics["epoch"]:
        last = None
    table = new_table(
        "split",
        "mean over",
        numbers=("frames", *_METRIC_NAMES),
        title=f"{sources_text(metrics)}, epoch {metrics['epoch']}",
        notes="\n".join(metrics.get("notes", ())),
    )
    for split, found in metrics["splits"].items():
        frames = f"{found['num_frames']:,}"
        table.add_row(split, "frames", frames, *_metric_cells(found["frame_wise"]))
        table.add_row("", "actions", "", *_metric_cells(found["action_wise"]))
        if "before_refinement" in found:
            for name, over in (("frame_wise", "frames"), ("action_wise", "actions")):
                cells = _metric_cells(found["before_refinement"][name])
                table.add_row("", f"{over}, before refinement", "", *cells)
        if last:
            for name, over in (("frame_wise", "frames"), ("action_wise", "actions")):
                label = f"{over}, last epoch ({last['epoch']})"
                table.add_row("", label, "", *_metric_cells(last["splits"][split][name]))
    return table


def groups_text(groups: Sequence[ParameterGroup]) -> str:
    """Return the parameter groups of a lifter and their peak learning rates, in one line."""
    words = [f"{group.name} {group.num_parameters:,} at lr {group.lr:.2g}" for group in groups]
    return f"parameters: {', '.join(words)}"


def sources_text(metrics: Mapping[str, Any]) -> str:
    """Return the lifter and where its inputs come from, in one line."""
    unknown = "unknown"  # metrics of an earlier version do not tell all
    features = metrics.get("feature_source", unknown) or "none"
    return (
        f"{metrics['lifter']}, keypoints {metrics['keypoint_source']}, features {features}, boxes "
        f"{metrics.get('box_source', unknown)}, context {metrics['context'] or 'none'}"
    )


def action_table(metrics: Mapping[str, Any], split: str) -> Table:
    """Return one line per action of a split."""
    return _group_table(metrics["splits"][split]["per_action"], f"{split}, by action", "action")


def subject_table(metrics: Mapping[str, Any], split: str) -> Table | None:
    """Return one line per subject of a split; None if there is only one, or none is known.

    The subjects of MPI-INF-3DHP's test set are its sequences.
    """
    groups = metrics["splits"][split].get("per_subject", {})
    return _group_table(groups, f"{split}, by subject", "subject") if len(groups) > 1 else None


def held_out_tables(metrics: Mapping[str, Any]) -> list[Table]:
    """Return the tables of every test split, by action and by subject."""
    tables = []
    for split in metrics["splits"]:
        if split.startswith("test"):
            tables.append(action_table(metrics, split))
            by_subject = subject_table(metrics, split)
            tables += [] if by_subject is None else [by_subject]
    return tables


def _group_table(groups: Mapping[str, Mapping[str, Any]], title: str, of: str) -> Table:
    table = new_table(of, numbers=("frames", *_METRIC_NAMES), title=title)
    for group, found in groups.items():
        table.add_row(group, f"{found['num_frames']:,}", *_metric_cells(found))
    return table


def joint_table(metrics: Mapping[str, Any]) -> Table:
    """Return MPJPE in mm by joint and split."""
    splits = metrics["splits"]
    table = new_table("joint", numbers=tuple(splits), title="MPJPE by joint")
    for joint in next(iter(splits.values()))["per_joint"]:
        table.add_row(joint, *(f"{found['per_joint'][joint]:.1f}" for found in splits.values()))
    return table


def _metric_cells(found: Mapping[str, Any]) -> list[str]:
    cells = []
    for name in _METRICS:
        value = found[name]
        if value is None:
            cells.append("-")
        else:
            cells.append(f"{value:.1f}" if name.endswith("_mm") else f"{100 * value:.1f} %")
    return cells


def detector_error_table(groups: Mapping[str, Mapping[str, Any]]) -> Table:
    """Return the 2D error of a detector by group of rows."""
    table = new_table(
        "rows of",
        numbers=("rows", "mean px", "median px", "mean crop px", "median crop px", "PCK@0.05"),
        title="2D error of the detector",
    )
    for name, found in groups.items():
        table.add_row(
            name,
            f"{found['num_rows']:,}",
            f"{found['mean_px']:.2f}",
            f"{found['median_px']:.2f}",
            f"{found['mean_crop_px']:.2f}",
            f"{found['median_crop_px']:.2f}",
            f"{100 * found['pck']:.1f} %",
        )
    return table
