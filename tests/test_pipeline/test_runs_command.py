"""`posecache list-runs` and the index of experiments."""

from __future__ import annotations

import csv
import fcntl
import io
import json
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from pipeline.errors import ConfigError
from pipeline.runs.index import COLUMNS, chosen, list_runs, ordered, write_index
from pipeline.runs.index_tables import index_table
from pipeline.runs.settings import settings_text, told_apart
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.written_runs import write_run


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Three finished runs."""
    root = tmp_path / "runs"
    write_run(root / "made-capf-s0-11111111")
    write_run(root / "made-capf-s1-22222222", seed=1, test_mm=(40.0, 41.0, 42.0))
    write_run(root / "deeper" / "made-pose_only-s0-33333333", lifter="pose_only", test_mm=(60.0,))
    return root


def csv_index(root: Path) -> list[dict[str, str]]:
    with (root / "index.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def states(root: Path) -> dict[str, str]:
    return {str(entry["name"]): str(entry["state"]) for entry in list_runs(root)}


def test_an_entry_says_what_a_run_was_and_how_it_ended(runs: Path) -> None:
    entry = next(one for one in list_runs(runs) if one["name"] == "made-capf-s0-11111111")
    # Clips of 50, 52, 54 and 104 mm; two actions of 52 and 104 mm.
    assert {name: entry[name] for name in COLUMNS} == {
        "name": "made-capf-s0-11111111",
        "state": "finished",
        "lifter": "capf",
        "store": "made.zarr",
        "keypoints": "detector",
        "features": "hrnet abc",
        "context": "own",
        "num_frames": 1,
        "seed": 0,
        "epochs": 2,
        "steps": 20,
        "best_epoch": 1,
        "validation_mpjpe_mm": pytest.approx(235 / 4),
        "test_mpjpe_mm": pytest.approx(65.0),
        "test_p_mpjpe_mm": pytest.approx(52.0),
        "test_action_mpjpe_mm": pytest.approx(78.0),
        "test_action_p_mpjpe_mm": pytest.approx(62.4),
        "parameters": 1234,
        "minutes": 2.0,
        "wait_percent": pytest.approx(20.0),
        "finished": "2026-11-21T10:00:00+00:00",
        "revision": "abcdef012345",
        "settings": "",
        "notes": None,
    }
    assert entry["test_new_cameras_mpjpe_mm"] == pytest.approx(285 / 4)


def test_the_time_of_a_run_that_went_on_after_a_stop_is_that_of_all_its_processes(
    runs: Path,
) -> None:
    log = runs / "made-capf-s0-11111111" / "log.jsonl"
    first, second = (json.loads(line) for line in log.read_text().splitlines())
    second["elapsed_s"] = 30.0  # another process began again at 0
    log.write_text(f"{json.dumps(first)}\n{json.dumps(second)}\n")
    assert {entry["minutes"] for entry in list_runs(runs)} == {1.5, 2.0}


def test_the_command_prints_runs_by_error_and_writes_all_of_them(
    runs: Path, posecache: CommandLine
) -> None:
    ended = posecache("list-runs", "--sort", "test", "--set", f"runs_root={runs}", "--json")
    assert ended.code == 0, ended.err
    names = [entry["name"].rpartition("/")[2] for entry in json.loads(ended.out)]
    assert names == [
        "made-capf-s1-22222222",
        "made-capf-s0-11111111",
        "made-pose_only-s0-33333333",
    ]
    table = posecache("list-runs", "--where", "lifter=capf", "--set", f"runs_root={runs}").out
    assert "2 runs" in table
    assert "pose_only" not in table
    assert table.count("made.zarr") == 1  # common to both, so said once
    assert "51.2" in table
    assert len(csv_index(runs)) == 3  # whatever was asked for


def test_runs_are_chosen_by_patterns_and_by_several_conditions(runs: Path) -> None:
    entries = list_runs(runs)
    assert len(chosen(entries, ["lifter=cap*"])) == 2
    assert [e["seed"] for e in chosen(entries, ["lifter=capf", "seed=1"])] == [1]
    assert chosen(entries, ["lifter=cap"]) == []
    assert len(chosen(entries, ["features="])) == 1  # pose_only reads none


def test_unknown_values_come_last_in_any_order(runs: Path) -> None:
    (runs / "made-capf-s1-22222222" / "metrics.json").unlink()
    entries = ordered(list_runs(runs), "test_mpjpe_mm")
    assert [entry["test_mpjpe_mm"] for entry in entries] == [65.0, 90.0, None]


def test_seeds_are_ordered_as_numbers_and_not_as_words() -> None:
    entries: list[dict[str, Any]] = [{"seed": 10}, {"seed": 9}]
    assert [entry["seed"] for entry in ordered(entries, "seed")] == [9, 10]


def test_a_mistyped_column_gets_a_suggestion(runs: Path, posecache: CommandLine) -> None:
    with pytest.raises(ConfigError, match="no column 'lfter'; did you mean 'lifter'"):
        chosen(list_runs(runs), ["lfter=capf"])
    with pytest.raises(ConfigError, match="expected COLUMN=VALUE"):
        chosen(list_runs(runs), ["capf"])
    for words in (("--sort", "erors"), ("--where", "lfter=capf"), ("--where", "capf")):
        assert posecache("list-runs", *words, "-s", f"runs_root={runs}").code == 2
    assert not (runs / "index.csv").exists()


BROKEN = {
    "half a file": '{"epoch": 1, "wei',
    "nothing": "",
    "a list": "[]",
    "a number": "7",
    "no splits": '{"lifter": "capf", "seed": 0}',
    "other types": '{"lifter": "capf", "splits": [1, 2]}',
}


@pytest.mark.parametrize("content", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("name", ["metrics.json", "run.json", "log.jsonl", "provenance.json"])
def test_a_broken_file_is_told_and_stops_nothing(runs: Path, name: str, content: str) -> None:
    folder = runs / "made-capf-s0-11111111"
    (folder / name).write_text(content)
    found = states(runs)
    assert len(found) == 3
    # Half a line is what a killed run leaves of its log, and an empty log what it begins with.
    in_order = name == "log.jsonl" and content in (BROKEN["half a file"], "")
    assert found.pop(folder.name) == ("finished" if in_order else "broken")
    assert set(found.values()) == {"finished"}


def test_bytes_that_are_no_text_and_folders_in_place_of_files_are_told(runs: Path) -> None:
    (runs / "made-capf-s0-11111111" / "metrics.json").write_bytes(b"\xff\xfe\x00")
    other = runs / "made-capf-s1-22222222" / "metrics.json"
    other.unlink()
    other.mkdir()
    entries = {entry["name"]: entry for entry in list_runs(runs)}
    assert entries["made-capf-s0-11111111"]["state"] == "broken"
    assert "metrics.json cannot be read" in entries["made-capf-s1-22222222"]["notes"]


def test_a_run_in_training_is_listed_as_unfinished(runs: Path, posecache: CommandLine) -> None:
    folder = runs / "made-capf-s0-11111111"
    for name in ("metrics.json", "config.json", "provenance.json"):
        (folder / name).unlink()
    (runs / "empty").mkdir()
    assert states(runs)[folder.name] == "unfinished"
    assert "empty" not in states(runs)
    entry = next(one for one in list_runs(runs) if one["name"] == folder.name)
    assert (entry["lifter"], entry["store"], entry["epochs"]) == ("capf", "made.zarr", 2)
    ended = posecache("list-runs", "-s", f"runs_root={runs}")
    assert ended.code == 0
    assert "unfinished" in ended.out


def test_runs_of_an_earlier_version_are_listed(runs: Path) -> None:
    folder = runs / "made-capf-s0-11111111"
    metrics = json.loads((folder / "metrics.json").read_text())
    for name in ("store", "last", "notes", "feature_source", "box_source"):
        del metrics[name]
    (folder / "metrics.json").write_text(json.dumps(metrics))
    origin = json.loads((folder / "provenance.json").read_text())
    del origin["finished"]
    (folder / "provenance.json").write_text(json.dumps(origin))
    entry = next(one for one in list_runs(runs) if one["name"] == folder.name)
    assert entry["state"] == "finished"
    assert entry["store"] == "made.zarr"
    assert entry["finished"].startswith("20")  # when its last file was written


def test_the_store_has_a_column_only_where_the_names_do_not_begin_with_it(runs: Path) -> None:
    def titles() -> list[str]:
        return [str(column.header) for column in index_table(list_runs(runs)).columns]

    metrics = runs / "made-capf-s0-11111111" / "metrics.json"
    metrics.write_text(metrics.read_text().replace("made.zarr", "moved.zarr"))
    assert "store" in titles()
    (runs / "made-capf-s0-11111111").rename(runs / "moved-capf-s0-11111111")
    assert "store" not in titles()


def test_a_note_on_a_run_is_in_the_table(tmp_path: Path, posecache: CommandLine) -> None:
    write_run(tmp_path / "made-capf-s0-44444444", notes=["CHOSEN ON TEST: as asked"])
    assert "CHOSEN ON TEST" in posecache("list-runs", "-s", f"runs_root={tmp_path}").out


def test_without_a_folder_of_runs_it_is_said(tmp_path: Path, posecache: CommandLine) -> None:
    ended = posecache("list-runs", "-s", f"runs_root={tmp_path / 'none'}")
    assert ended.code == 3
    assert "no such folder of runs" in ended.err
    assert posecache("list-runs", "-s", "data_root=x").code == 2


def test_an_index_waits_for_another_and_then_has_what_came_meanwhile(runs: Path) -> None:
    with (runs / ".index.lock").open("w") as lock, ThreadPoolExecutor() as pool:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writing = pool.submit(write_index, runs)
        time.sleep(0.3)
        assert not writing.done()
        write_run(runs / "made-capf-s9-99999999", seed=9)
        fcntl.flock(lock, fcntl.LOCK_UN)
        writing.result(timeout=30)
    assert len(csv_index(runs)) == 4


def _add_runs(root: Path, first: int) -> None:
    for number in range(first, first + 5):
        write_run(root / f"made-capf-s{number}-{number:08d}", seed=number)
        write_index(root)


@pytest.mark.slow
def test_processes_that_end_together_leave_an_index_of_all_runs(tmp_path: Path) -> None:
    context = get_context("spawn")
    workers = [context.Process(target=_add_runs, args=(tmp_path, 5 * i)) for i in range(3)]
    for worker in workers:
        worker.start()
    while any(worker.is_alive() for worker in workers):
        if (tmp_path / "index.csv").exists():
            assert all(row["state"] for row in csv_index(tmp_path))  # whole at any time
        time.sleep(0.01)
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    rows = csv_index(tmp_path)
    assert sorted(int(row["seed"]) for row in rows) == list(range(15))
    assert {row["state"] for row in rows} == {"finished"}
    assert not list(tmp_path.glob(".index.csv*"))


def test_listing_runs_does_not_import_torch() -> None:
    probe = "import sys, pipeline.commands.runs; print('torch' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "False"


def test_settings_are_those_that_are_not_the_defaults_and_not_said_elsewhere() -> None:
    run = {
        "train": {"lr": 0.002, "seed": 3, "steps": 40, "data": {"context": "none"}, "ema": None},
        "lifter": {"name": "capf", "width": 32, "fusion": "concat", "options": {}},
    }
    assert settings_text(run) == "lifter.fusion=concat; lifter.width=32; train.lr=0.002"
    assert settings_text({**run, "lifter": {"name": "capf", "of_another_version": 1}}) is None


def test_what_all_runs_of_a_list_share_is_not_said_of_each() -> None:
    texts = ["a=1; b=2", "a=1; b=3", None, "a=1"]
    assert told_apart(texts) == ["b=2", "b=3", None, ""]
    assert told_apart([]) == []


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_narrow_terminal_loses_columns_and_no_name_or_number_is_broken(
    width: int, runs: Path
) -> None:
    entries = list_runs(runs)
    screen = Console(width=width, file=io.StringIO(), force_terminal=False)
    screen.print(index_table(entries, width))
    shown = screen.file.getvalue()  # type: ignore[attr-defined]
    assert max(map(len, shown.splitlines())) <= width
    for entry in entries:
        line = next(line for line in shown.splitlines() if str(entry["name"]) in line)
        assert f"{entry['test_mpjpe_mm']:.1f}" in line
    assert ("no room for: " in shown) == (width < 200)
