"""`posecache robustness`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cache.fingerprint import fingerprint
from pipeline.console import Meter, console, print_json
from pipeline.errors import Stopped
from pipeline.interruption import Interruption
from pipeline.robustness.examples import EXAMPLES_FILE, draw_examples
from pipeline.robustness.files import RESULT_FILE, TABLE_FILE
from pipeline.robustness.growth import growth
from pipeline.robustness.page import PAGE_FILE, page_text
from pipeline.robustness.plot import PLOT_FILE, plot_result
from pipeline.robustness.study import Study, open_study
from pipeline.robustness.subjects import choose_runs, load_subjects
from pipeline.robustness.sweep import SweepProgress, plan_sweep, run_sweep
from pipeline.robustness.tables import error_table, growth_table
from pipeline.runs.config import runs_root_of
from pipeline.runs.directories import writable_folder, write_text
from pipeline.settings import parse_set


def run_robustness(
    runs: Sequence[Path],
    *,
    out: Path | None,
    rows: int | None,
    device: str | None,
    sets: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Degrade the test set of runs step by step, and write and show how their errors grow."""
    changes = [parse_set(text) for text in sets]
    root = runs_root_of(changes)
    if rows is not None:
        changes.append(("robustness.rows", rows))
    if device is not None:
        changes += [("detector.device", device), ("evaluate.device", device)]
    subjects = load_subjects(choose_runs(runs, root), changes)
    study = open_study(subjects, subjects[0].config.robustness)
    folder = out or root / f"robustness-{study.reader.name}-{fingerprint(study.settings())[:8]}"
    screen = console(quiet=as_json)
    plan, _ = plan_sweep(study, folder)
    facts = {
        "out": str(folder),
        "runs": [subject.name for subject in subjects],
        "baseline": None if study.baseline is None else study.baseline.name,
        "num_rows": len(study.rows),
        "kept": [variant.label for variant in plan.kept],
        "passes": [[variant.label for variant in members] for members in plan.todo],
    }
    screen.print(_plan_text(study, folder, len(plan.kept), len(plan.todo)), soft_wrap=True)
    if dry_run:
        for members in plan.todo:
            screen.print("  " + ", ".join(variant.label for variant in members), soft_wrap=True)
        if as_json:
            print_json(facts)
        return
    writable_folder(folder, "--out")
    with Interruption("the running part of frames") as interruption, Meter(screen) as meter:

        def show(progress: SweepProgress) -> None:
            meter.update(
                progress.name,
                progress.rows_done / progress.num_rows,
                f"{progress.rows_done} of {progress.num_rows} frames,"
                f" {progress.rows_per_s:.1f} per s, {_minutes(progress.seconds_left)}",
            )

        result = run_sweep(study, folder, progress=show, stop=interruption.requested)
    if result is None:
        assert interruption.signal_number is not None
        raise Stopped(
            f"{folder}: not all strengths are done. The same command goes on from here.",
            interruption.signal_number,
        )
    grown = growth(result)
    pictures = [folder / PLOT_FILE, folder / EXAMPLES_FILE]
    plot_result(result, pictures[0])
    draw_examples(study, result, pictures[1])
    pictures = [path for path in pictures if path.is_file()]
    write_text(folder / PAGE_FILE, page_text(result, grown, pictures))
    if as_json:
        print_json({**facts, **result, "growth": grown})
        return
    screen.print(error_table(result))
    screen.print(growth_table(result, grown))
    for name, check in (result["check"] or {}).items():
        distance = check["distance_mm"]
        apart = "not compared: other maps" if distance is None else f"{distance:.4f} mm apart"
        screen.print(
            f"{name}: undegraded {check['mpjpe_mm']:.2f} mm, from the store"
            f" {check['mpjpe_of_store_mm']:.2f} mm ({apart})",
            soft_wrap=True,
        )
    for path in (folder / RESULT_FILE, folder / TABLE_FILE, folder / PAGE_FILE, *pictures):
        screen.print(f"  {path}", soft_wrap=True)


def _plan_text(study: Study, folder: Path, num_kept: int, num_passes: int) -> str:
    kept = f"; {num_kept} results are there already" if num_kept else ""
    return (
        f"{len(study.rows)} frames of {', '.join(study.splits)}, {num_passes} passes of the"
        f" detector, {len(study.subjects)} runs{kept} -> {folder}"
    )


def _minutes(seconds: float | None) -> str:
    if seconds is None:
        return "time left unknown"
    return (
        f"{seconds:.0f} s left in all" if seconds < 120 else f"{seconds / 60:.0f} min left in all"
    )
