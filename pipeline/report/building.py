"""Everything that a page shows, gathered from the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report import charts, facts, tables
from pipeline.report.clips import chosen_clip, player_scene
from pipeline.report.control import control_command, control_text
from pipeline.report.evaluating import TOLERANCE_MM, ReportRun, require_same_frames
from pipeline.report.frames import ShownFrame, shown_frames
from pipeline.report.pictures import Pictures
from pipeline.report.sampling import sampling_section, why_no_sampling
from pipeline.report.scenes import sides_of
from pipeline.runs.comparison import METRICS, compare_runs
from pipeline.runs.comparison_tables import letters

_SAMPLED_KINDS = ("worst", "median", "best")


def page_content(
    runs: Sequence[ReportRun], control: ReportRun | None, pictures: Pictures
) -> dict[str, Any]:
    """Return what the templates show of one run and perhaps its control, or of several runs.

    Args:
        runs: the first is the base of a comparison; its frames and pictures are shown.
        control: of a single run; evaluated on its first test split.
        pictures: of the store of the first run.

    Raises:
        NotComparable: the runs were evaluated on different clips.
        PipelineError: they were evaluated on other rows, or on rows with other labels.
    """
    run = runs[0]
    several = len(runs) > 1
    for each in _shared(runs, tuple(run.evaluations)):
        require_same_frames(runs, each, all_of_them=True)
    if control is not None:
        require_same_frames([run, control], run.test_splits[0], all_of_them=False)
    comparison = compare_runs([each.run_dir for each in runs]) if several else None
    named = dict(zip(letters(len(runs)), runs, strict=True)) if several else {run.name: run}
    split = run.test_splits[0]
    frames: dict[str, list[ShownFrame]] = {}
    scenes: dict[str, Any] = {}
    for each in _shared(runs, run.test_splits):
        frames[each], poses = shown_frames(runs, each, pictures)
        scenes |= poses
    clip = _clip_part(runs, control, split, pictures)
    scenes["clip"] = clip.pop("scene")
    sampled = [frame for frame in frames[split] if frame.kind in _SAMPLED_KINDS]
    no_sampling = _no_sampling(runs)
    said: dict[str, list[str]] = {}
    charted = {"curves": charts.curves(_histories(named)), "clip": clip.pop("chart")}
    for each in _shared(runs, tuple(run.evaluations)):
        charted[f"histogram-{each}"] = charts.histogram(named, each)
        charted[f"pck-{each}"] = charts.pck_curve(named, each)
        if several:
            metrics = {letter: one.metrics for letter, one in named.items()}
            charted[f"changes-{each}"] = charts.clip_changes(metrics, each)
        if found := _calibration(named, each):
            charted[f"calibration-{each}"] = charts.calibration(found)
            charted[f"coverage-{each}"] = charts.coverage(found)
            said[each] = [facts.calibration_text(name, one) for name, one in found.items()]
    return {
        "title": f"{len(runs)} runs compared" if several else run.name,
        "several": several,
        "runs": [
            {"letter": letter, "colour": charts.run_colour(index), **_described(one)}
            for index, (letter, one) in enumerate(named.items())
        ],
        "checks": [_check(one) for one in [*runs, *([control] if control else [])]],
        "tolerance_mm": TOLERANCE_MM,
        "splits": list(_shared(runs, tuple(run.evaluations))),
        "test_splits": list(_shared(runs, run.test_splits)),
        "tables": _tables(runs, comparison),
        "frames": frames,
        "frame_names": list(named) if several else ["predicted"],
        "no_pictures": pictures.why_none,
        "missing_pictures": pictures.missing,
        "sampling": None if no_sampling else sampling_section(run, sampled),
        "no_sampling": no_sampling,
        "reference_rule": run.loaded.description.lifter.reference_rule,
        "clip": clip,
        "calibration": said,
        "charts": charted,
        "scenes": scenes,
    }


def _shared(runs: Sequence[ReportRun], splits: Sequence[str]) -> tuple[str, ...]:
    """Splits that all runs were evaluated on."""
    return tuple(split for split in splits if all(split in run.evaluations for run in runs))


def _no_sampling(runs: Sequence[ReportRun]) -> str:
    if len(runs) > 1:
        return "Learned sampling points are on the page of a single run: posecache report RUN."
    return why_no_sampling(runs[0])


def _histories(named: Mapping[str, ReportRun]) -> dict[str, Sequence[Mapping[str, Any]]]:
    return {name: run.loaded.history for name, run in named.items()}


def _calibration(named: Mapping[str, ReportRun], split: str) -> dict[str, Any]:
    """How predicted and observed errors agree, of the runs that have an uncertainty."""
    found = {}
    for name, run in named.items():
        uncertainty = run.metrics["splits"][split].get("uncertainty")
        if uncertainty:
            found[name] = uncertainty
    return found


def _clip_part(
    runs: Sequence[ReportRun], control: ReportRun | None, split: str, pictures: Pictures
) -> dict[str, Any]:
    run = runs[0]
    if len(runs) > 1:
        shown, names, base = list(runs), letters(len(runs)), 0
    elif control is not None:
        shown, names = [run, control], [run.metrics["lifter"], f"control {control.name}"]
        base = 1
    else:
        shown, names, base = [run], [run.metrics["lifter"]], None
    clip = chosen_clip(shown, names, split, base=base)
    return {
        "split": split,
        "name": clip.name,
        "why": clip.why,
        "names": names,
        "control": None if control is None else control_text(control, run),
        "control_command": None if base is not None else control_command(run),
        "num_frames": len(clip.frames),
        "chart": charts.clip_errors(names, clip),
        "scene": player_scene(shown, clip, pictures),
    }


def _check(run: ReportRun) -> dict[str, Any]:
    differences = run.differences_mm()
    largest = max(differences.values(), key=abs)
    return {
        "run": run.name,
        "largest_mm": largest,
        "equal": abs(largest) <= TOLERANCE_MM,
        "splits": [
            (
                split,
                run.metrics["splits"][split]["frame_wise"]["mpjpe_mm"],
                run.evaluations[split].metrics["frame_wise"]["mpjpe_mm"],
            )
            for split in differences
        ],
    }


def _described(run: ReportRun) -> dict[str, Any]:
    store, levels = facts.store_facts(run)
    return {
        "name": run.name,
        "facts": facts.run_facts(run),
        "sources": facts.source_facts(run),
        "warnings": facts.warnings_of(run),
        "store": store,
        "levels": levels,
        "detector": facts.detector_facts(run),
        "identity": facts.feature_identity(run),
        "settings": tables.words_table(
            "Settings that are not the defaults",
            facts.changed_settings(run),
            ("setting", "value", "default"),
        ),
    }


def _tables(runs: Sequence[ReportRun], comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    """The tables of errors: `means`, and by split those of actions, subjects and joints."""
    run = runs[0]
    sides = sides_of(run.reader.label_skeleton)
    splits = _shared(runs, tuple(run.evaluations))
    joints = {
        split: tables.joint_table(
            [one.metrics["splits"][split]["per_joint"] for one in runs], sides, "By joint"
        )
        for split in splits
    }
    if comparison is None:
        found = run.metrics["splits"]
        return {
            "means": [tables.means_table(run.metrics)],
            "actions": {
                split: tables.group_table("By action", found[split]["per_action"], "action")
                for split in splits
            },
            "subjects": {
                split: tables.group_table(
                    "By subject",
                    _groups(run, split, "subject"),
                    "subject",
                    metrics=METRICS[:2],
                )
                for split in splits
            },
            "joints": joints,
            "settings": None,
        }
    settings = [
        (key, *("-" if value is None else str(value) for value in values))
        for key, values in comparison["settings"].items()
    ]
    return {
        "means": [tables.change_table(comparison, split) for split in splits],
        "actions": _compared(runs, splits, "action"),
        "subjects": _compared(runs, splits, "subject"),
        "joints": joints,
        "settings": tables.words_table(
            "Settings that differ", settings, ("setting", *letters(len(runs)))
        ),
    }


def _compared(
    runs: Sequence[ReportRun], splits: Sequence[str], kind: str
) -> dict[str, tables.HtmlTable]:
    return {
        split: tables.compared_groups(
            f"By {kind}", [_groups(one, split, kind) for one in runs], kind
        )
        for split in splits
    }


def _groups(run: ReportRun, split: str, kind: str) -> Mapping[str, Any]:
    """The means of groups; those of today for runs evaluated before there were such means."""
    of_file = run.metrics["splits"][split].get(f"per_{kind}")
    groups: Mapping[str, Any] = of_file or run.evaluations[split].metrics[f"per_{kind}"]
    return groups
