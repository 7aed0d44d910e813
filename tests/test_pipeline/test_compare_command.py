"""`posecache compare` on runs whose numbers are known."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.runs.comparison import compare_runs, differing_settings
from pipeline.runs.comparison_tables import runs_table
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.written_runs import METRICS, write_run


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return [
        write_run(tmp_path / "a", test_mm=(50.0, 52.0, 54.0), settings={"lr": 0.1}),
        write_run(tmp_path / "b", test_mm=(40.0, 42.0, 44.0), settings={"lr": 0.2}),
        write_run(
            tmp_path / "c",
            lifter="pose_only",
            test_mm=(50.0, 52.0, 54.0),
            notes=["CHOSEN ON TEST: as asked"],
        ),
    ]


def test_every_metric_has_its_change(runs: list[Path]) -> None:
    better, equal = compare_runs(runs)["others"]
    found = better["splits"]["test"]["metrics"]["frame_wise"]
    assert set(found) == set(METRICS)
    # Clips of 50, 52, 54, 104 against 40, 42, 44, 84 mm.
    assert found["mpjpe_mm"] == pytest.approx({"base": 65.0, "value": 52.5, "change": -12.5})
    assert found["p_mpjpe_mm"]["change"] == pytest.approx(-10.0)
    assert found["mpjve_mm"]["change"] == pytest.approx(-1.25)
    assert found["pck"]["change"] == 0.0
    by_action = better["splits"]["test"]["metrics"]["action_wise"]["mpjpe_mm"]
    assert by_action == pytest.approx({"base": 78.0, "value": 63.0, "change": -15.0})
    assert better["splits"]["test"]["resolved"]
    assert better["splits"]["test"]["high_mm"] < 0
    assert not equal["splits"]["test"]["resolved"]


def test_a_metric_that_one_run_lacks_has_no_change(runs: list[Path]) -> None:
    file = runs[1] / "metrics.json"
    metrics = json.loads(file.read_text())
    metrics["splits"]["test"]["frame_wise"]["mpjve_mm"] = None
    file.write_text(json.dumps(metrics))
    (other, _) = compare_runs(runs)["others"]
    found = other["splits"]["test"]["metrics"]["frame_wise"]["mpjve_mm"]
    assert (found["value"], found["change"]) == (None, None)
    assert found["base"] == pytest.approx(6.5)


def test_settings_that_differ_are_told_for_all_runs_and_no_others() -> None:
    configs = [
        {"train": {"lr": 0.1, "seed": 0}, "lifter": {"name": "capf", "options": {}}},
        {"train": {"lr": 0.2, "seed": 0}, "lifter": {"name": "capf", "options": {"k": 1}}},
        {"train": {"lr": 0.1, "seed": 0}, "lifter": {"name": "capf", "options": {}}},
    ]
    assert differing_settings(configs) == {
        "train.lr": [0.1, 0.2, 0.1],
        "lifter.options": [{}, None, {}],
        "lifter.options.k": [None, 1, None],
    }


def test_the_tables_name_runs_sources_notes_changes_and_settings(
    runs: list[Path], posecache: CommandLine
) -> None:
    ended = posecache("compare", *map(str, runs))
    assert ended.code == 0, ended.err
    assert "52.5 (-12.5)" in ended.out
    assert "63.0 (-15.0)" in ended.out
    assert "hrnet abc" in ended.out
    assert "C: CHOSEN ON TEST" in ended.out
    (line,) = [line for line in ended.out.splitlines() if "train.lr" in line]
    assert [cell.strip() for cell in line.split("│")[1:-1]] == ["train.lr", "0.1", "0.2", "-"]


def test_the_csv_file_has_every_number(
    runs: list[Path], tmp_path: Path, posecache: CommandLine
) -> None:
    file = tmp_path / "out" / "table.csv"
    assert posecache("compare", *map(str, runs), "--csv", str(file)).code == 0
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    # runs x splits x means x metrics
    assert len(rows) == 3 * 3 * 2 * 6
    wanted = {"run": str(runs[1]), "split": "test", "mean": "frame_wise", "metric": "mpjpe_mm"}
    (row,) = [row for row in rows if wanted.items() <= row.items()]
    assert float(row["value"]) == pytest.approx(52.5)
    assert float(row["base"]) == pytest.approx(65.0)
    assert float(row["change"]) == pytest.approx(-12.5)
    assert float(row["low"]) <= -12.5 <= float(row["high"])
    assert next(row for row in rows if row["run"] == str(runs[0]))["change"] == ""


def test_runs_on_different_frames_are_refused(tmp_path: Path, posecache: CommandLine) -> None:
    a = write_run(tmp_path / "a", test_mm=(50.0, 52.0))
    b = write_run(tmp_path / "b", test_mm=(50.0, 52.0, 54.0))
    ended = posecache("compare", str(a), str(b))
    assert ended.code == 3
    assert "different frames" in ended.err


def test_an_unfinished_run_is_named(runs: list[Path], posecache: CommandLine) -> None:
    (runs[1] / "metrics.json").unlink()
    ended = posecache("compare", *map(str, runs))
    assert ended.code == 3
    assert str(runs[1] / "metrics.json") in ended.err


def test_runs_of_an_earlier_version_are_compared(runs: list[Path]) -> None:
    for run in runs:
        metrics = json.loads((run / "metrics.json").read_text())
        for name in ("last", "notes", "feature_source", "box_source"):
            del metrics[name]
        (run / "metrics.json").write_text(json.dumps(metrics))
    assert compare_runs(runs)["runs"][0]["feature_source"] == "unknown"


@pytest.mark.parametrize("width", [80, 160])
def test_names_of_runs_are_whole_in_any_terminal(width: int, runs: list[Path]) -> None:
    screen = Console(width=width, file=io.StringIO(), force_terminal=False)
    screen.print(runs_table(compare_runs(runs), screen.width))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    for letter, run in zip("ABC", runs, strict=False):
        assert (f"{letter}: {run.name}" in shown) == (width == 80)
        assert run.name in shown
