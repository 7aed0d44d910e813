"""What the commands say of the last epoch, of parameter groups, and of choosing on test."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.test_lift.stores import write_store
from tests.test_pipeline.commands import CommandLine

TINY = (
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "lifter.num_points=1",
    "train.steps=4",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "train.threads=1",
)
ON_TEST = ("train.data.validation_split=test", "train.allow_test_selection=true")


@pytest.fixture
def roots(tmp_path: Path) -> tuple[str, ...]:
    splits = {"train": 16, "validation": 8, "test": 8, "test_new_cameras": 8}
    write_store(tmp_path / "data" / "synthetic-hrnet-synthetic.zarr", splits)
    return (f"data_root={tmp_path / 'data'}", f"runs_root={tmp_path / 'runs'}")


def options(*sets: str) -> list[str]:
    return [part for text in sets for part in ("--set", text)]


def test_every_command_says_that_the_epoch_was_chosen_on_test(
    roots: tuple[str, ...], tmp_path: Path, posecache: CommandLine
) -> None:
    refused = posecache("lift", *options(*roots, *TINY, "train.data.validation_split=test"))
    assert refused.code == 3
    assert "train.allow_test_selection=true" in refused.err
    chosen = posecache("lift", *options(*roots, *TINY, *ON_TEST))
    assert chosen.code == 0, chosen.err
    plain = posecache("lift", *options(*roots, *TINY))
    said = "CHOSEN ON TEST"
    assert said in chosen.out
    assert said not in plain.out
    runs = tmp_path / "runs"
    with (runs / "index.csv").open(newline="") as file:
        notes = {row["name"]: row["notes"] for row in csv.DictReader(file)}
    (on_test,) = [name for name, note in notes.items() if said in note]
    (honest,) = set(notes) - {on_test}
    assert said in posecache("list-runs", *options(roots[1])).out
    assert said in posecache("compare", str(runs / honest), str(runs / on_test)).out
    assert said in posecache("evaluate", str(runs / on_test), *options(roots[1])).out
    assert said in json.loads((runs / on_test / "run.json").read_text())["notes"][0]


def test_lifting_tells_the_parameter_groups(roots: tuple[str, ...], posecache: CommandLine) -> None:
    sets = (*roots, *TINY, "train.lr=0.01", "train.lr_scales={sampling_offsets: 0.1}")
    ended = posecache("lift", *options(*sets))
    assert ended.code == 0, ended.err
    (first,) = [line for line in ended.out.splitlines() if line.startswith("parameters:")]
    # One block: a linear map of 8 to 2 heads x 1 point x 2.
    assert "sampling_offsets 36 at lr 0.001" in first
    assert " at lr 0.01" in first
    shown = json.loads(posecache("lift", *options(*sets), "--json").out)
    assert {group["name"] for group in shown["parameter_groups"]} == {"main", "sampling_offsets"}


def test_a_lifter_of_windows_that_gets_one_frame_is_told_of(
    roots: tuple[str, ...], posecache: CommandLine
) -> None:
    said = "lifter.num_frames is 1"
    words = options(*roots, *TINY)
    assert said in posecache("lift", "--lifter", "poseformer", *words).out
    three = options("lifter.num_frames=3")
    assert said not in posecache("lift", "--lifter", "poseformer", *words, *three).out
    assert said not in posecache("lift", "--lifter", "pose_only", *words).out


@pytest.mark.slow
def test_evaluating_again_brings_the_index_up_to_date(
    roots: tuple[str, ...], tmp_path: Path, posecache: CommandLine
) -> None:
    assert posecache("lift", "--lifter", "pose_only", *options(*roots, *TINY)).code == 0
    index = tmp_path / "runs" / "index.csv"
    before = index.read_text()
    changed = options(roots[1], "evaluate.flip_average=false")
    assert posecache("evaluate", *changed).code == 0
    assert index.read_text() != before


def test_the_last_epoch_has_its_lines_where_it_is_not_the_best(
    roots: tuple[str, ...], tmp_path: Path, posecache: CommandLine
) -> None:
    from pipeline.console import console
    from pipeline.runs.directories import finished_runs, read_json
    from pipeline.runs.tables import split_table

    assert posecache("lift", "--lifter", "pose_only", *options(*roots, *TINY)).code == 0
    (run,) = finished_runs(tmp_path / "runs")
    metrics = read_json(run / "metrics.json")
    for best, lines in ((2, 0), (1, 3)):
        screen = console()
        with screen.capture() as shown:
            screen.print(split_table(metrics | {"epoch": best}))
        assert shown.get().count("frames, last epoch (2)") == lines
        assert f"epoch {best}" in shown.get()


@pytest.mark.slow
def test_a_run_of_an_earlier_version_is_not_evaluated_again_for_settings_it_could_not_name(
    roots: tuple[str, ...], tmp_path: Path, posecache: CommandLine
) -> None:
    words = ("lift", "--lifter", "pose_only", *options(*roots, *TINY), "--json")
    assert posecache(*words).code == 0
    (file,) = (tmp_path / "runs").glob("*/metrics.json")
    metrics = json.loads(file.read_text())
    for name in ("velocity", "also_last"):
        del metrics["evaluate"][name]
    file.write_text(json.dumps(metrics))
    assert json.loads(posecache(*words).out)["up_to_date"] is True
    # What it does name is compared.
    metrics["evaluate"]["zero_root"] = True
    file.write_text(json.dumps(metrics))
    assert json.loads(posecache(*words).out)["up_to_date"] is False
