"""`posecache report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.console import Meter, console, print_json
from pipeline.errors import ConfigError, UnwritableTarget
from pipeline.report.building import page_content
from pipeline.report.control import find_control
from pipeline.report.evaluating import ReportRun, read_run
from pipeline.report.page import render, require_packages
from pipeline.report.pictures import pictures_of
from pipeline.runs.directories import find_run, write_text
from pipeline.settings import parse_set

REPORT_FILE = "report.html"


def run_report(
    runs: Sequence[Path],
    *,
    out: Path | None,
    control: Path | None,
    store: str | None,
    sets: Sequence[str],
    as_json: bool,
) -> None:
    """Write one page of a run, or one that compares several; evaluates them again for it."""
    require_packages()
    changes = [parse_set(text) for text in sets]
    root = Path(next((str(value) for key, value in changes if key == "runs_root"), "runs"))
    folders = [find_run(run, root) for run in runs] or [find_run(None, root)]
    if control is not None and len(folders) > 1:
        raise ConfigError(
            "--control is for the page of one run: of several, each is held against the first. "
            "Leave it out, or name one run."
        )
    if control is not None:
        control = find_run(control, root)
    settings = [(key, value) for key, value in changes if key != "runs_root"]
    target = out or (root if len(folders) > 1 else folders[0]) / REPORT_FILE
    if target.is_dir():
        raise UnwritableTarget(
            f"{target}: is a folder. Name the page in it: --out {target / REPORT_FILE}."
        )
    screen = console(quiet=as_json)
    with Meter(screen) as meter:

        def read(folder: Path, splits: Sequence[str] | None = None) -> ReportRun:
            return read_run(
                folder, store=store, changes=settings, splits=splits, progress=meter.update
            )

        shown = [read(folder) for folder in folders]
        held_against = None
        if len(shown) == 1:
            held_against = _control(shown[0], control, root)
        other = read(held_against, shown[0].test_splits[:1]) if held_against else None
        pictures = pictures_of(shown[0].config.dataset, shown[0].reader)
        meter.update("page", 0.0)
        content = page_content(shown, other, pictures)
        write_text(target, render(content))
        meter.update("page", 1.0)
    size_bytes = target.stat().st_size
    checks = content["checks"]
    if as_json:
        print_json(
            {
                "path": str(target),
                "size_bytes": size_bytes,
                "runs": [str(folder) for folder in folders],
                "control": None if held_against is None else str(held_against),
                "equal_to_metrics": all(check["equal"] for check in checks),
                "largest_difference_mm": max(abs(check["largest_mm"]) for check in checks),
                "pictures": pictures.available and not pictures.missing,
            }
        )
        return
    for check in checks:
        if not check["equal"]:
            screen.print(
                f"ERROR: {check['run']}: its errors, computed again, differ from metrics.json by"
                f" up to {check['largest_mm']:+.3f} mm; the page says so.",
                style="bold red",
                markup=False,
                soft_wrap=True,
            )
    screen.print(f"report: {target} ({size_bytes / 1e6:.1f} MB)", markup=False, soft_wrap=True)


def _control(run: ReportRun, named: Path | None, runs_root: Path) -> Path | None:
    if named is not None:
        return named
    if run.metrics["lifter"] == "pose_only":
        return None
    inside = run.run_dir.resolve().is_relative_to(runs_root.resolve())
    return find_control(run, runs_root if inside else run.run_dir.resolve().parent)
