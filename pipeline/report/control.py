"""The run without context that a run is held against: the control of the paper's Figure 5."""

from __future__ import annotations

import shlex
from pathlib import Path

from pipeline.report.evaluating import ReportRun
from pipeline.report.facts import warnings_of
from pipeline.runs.directories import CONFIG_FILE
from pipeline.runs.index import Entry, list_runs

CONTROL_LIFTER = "pose_only"


def find_control(run: ReportRun, runs_root: Path) -> Path | None:
    """Return the finished `pose_only` run on the same store with the most similar settings.

    It reads the same keypoints; of several, those with the same number of steps, the same seed and
    the same other settings come first, then the newest. None if there is none.
    """
    entries = {entry["name"]: entry for entry in list_runs(runs_root)}
    own = next(
        (e for name, e in entries.items() if (runs_root / name).resolve() == run.run_dir.resolve()),
        None,
    )
    fitting = [
        entry
        for entry in entries.values()
        if entry["state"] == "finished"
        and entry["lifter"] == CONTROL_LIFTER
        and entry["store"] == run.metrics.get("store")
        and entry["keypoints"] == run.metrics["keypoint_source"]
        and (runs_root / entry["name"]).resolve() != run.run_dir.resolve()
    ]
    if not fitting:
        return None
    best = max(fitting, key=lambda entry: _likeness(entry, own))
    return runs_root / str(best["name"])


def control_command(run: ReportRun) -> str:
    """Return the command that trains the control of a run, with all its other settings."""
    config = shlex.quote(str(run.run_dir / CONFIG_FILE))
    changes = [f"lifter.name={CONTROL_LIFTER}"]
    # It lifts single frames, and has no options of its own.
    changes += ["lifter.num_frames=1"] if run.config.lifter.num_frames > 1 else []
    changes += ["lifter.options={}"] if run.config.lifter.options else []
    words = " ".join(f"--set {change}" for change in changes)
    return f"cp {config} control.yaml && posecache lift --preset control.yaml {words}"


def control_text(control: ReportRun, run: ReportRun) -> str:
    """Return which run the control is, what it reads, and what must be said of it alone."""
    metrics = control.metrics
    said = warnings_of(run)
    warnings = [each for each in warnings_of(control) if each not in said]
    return (
        f"{control.name}: {metrics['lifter']} on {metrics.get('store', 'its store')}, 2D joints"
        f" {metrics['keypoint_source']}, context {metrics.get('context') or 'none'}, seed"
        f" {metrics['seed']}" + (f" ({' '.join(warnings)})" if warnings else "")
    )


def _likeness(entry: Entry, own: Entry | None) -> tuple[bool, bool, bool, str]:
    keys = ("steps", "seed", "settings")
    same = [own is not None and entry[key] == own[key] for key in keys]
    return same[0], same[1], same[2], str(entry["finished"])
