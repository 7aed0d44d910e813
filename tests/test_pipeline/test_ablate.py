"""Comparisons on a tiny store, from training to the table, the files and the picture."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import pytest
from rich.console import Console

from pipeline.ablation import runs
from pipeline.ablation.files import run_lines, summary_lines
from pipeline.ablation.published_numbers import LABEL, published_numbers
from pipeline.ablation.result import difference, evaluated_splits
from pipeline.ablation.savings import savings, savings_text
from pipeline.ablation.tables import comparison_table
from pipeline.settings import shipped
from stages.lift.errors import NotComparable, NotFiniteLoss
from stages.lift.progress import train_seconds
from tests.test_lift.stores import write_store
from tests.test_pipeline.ablations import SPLITS, Place
from tests.test_pipeline.commands import CommandLine

TWO = (
    "comparison.rows={a: {lifter.name: pose_only}, b: {lifter.name: pose_only, train.lr: 0.1}}",
    "comparison.differences=[[b, a]]",
    "comparison.pictures_of=null",
)


@pytest.fixture(scope="module")
def ladder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, dict[str, Any]]:
    """The ladder, run once."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        place = Place(tmp_path_factory.mktemp("ladder"), CommandLine(monkeypatch, _NoCapture()))
        folder = place.folder / "data"
        note = {"seconds": {"extract": 100.0}}
        (folder / "synthetic-hrnet-synthetic.provenance.json").write_text(json.dumps(note))
        assert place("ladder").code == 0
    (result,) = place.runs.glob("comparison-ladder-*/comparison.json")
    return place, json.loads(result.read_text())


class _NoCapture(pytest.CaptureFixture[str]):
    """Output is not looked at."""

    def __init__(self) -> None:
        pass

    def readouterr(self) -> Any:
        return type("Output", (), {"out": "", "err": ""})


@pytest.fixture
def place(tmp_path: Path, posecache: CommandLine) -> Place:
    return Place(tmp_path, posecache)


def text_of(result: dict[str, Any]) -> str:
    screen = Console(width=240, record=True, file=io.StringIO())
    screen.print(comparison_table(result))
    return screen.export_text()


def test_numbers_of_the_table_are_those_of_the_metrics_files(
    ladder: tuple[Place, dict[str, Any]],
) -> None:
    _, result = ladder
    assert result["splits"] == ["test"]
    for row in result["rows"]:
        for run, mpjpe_mm in zip(
            row["runs"], row["errors_mm"]["test"]["action_wise"]["mpjpe_mm"], strict=True
        ):
            metrics = json.loads((Path(run["run_dir"]) / "metrics.json").read_text())
            found = metrics["splits"]["test"]
            assert mpjpe_mm == found["action_wise"]["mpjpe_mm"]
            actions = [action["mpjpe_mm"] for action in found["per_action"].values()]
            assert mpjpe_mm == pytest.approx(fmean(actions))
    text = text_of(result)
    values = result["rows"][3]["errors_mm"]["test"]["action_wise"]["mpjpe_mm"]
    assert f"{fmean(values):.1f} ± {stdev(values):.1f}" in text
    assert "action-wise" in text
    frames = text_of({**result, "mean_over": "frames"})
    values = result["rows"][3]["errors_mm"]["test"]["frame_wise"]["mpjpe_mm"]
    assert f"{fmean(values):.1f} ± {stdev(values):.1f}" in frames
    assert "frame-wise" in frames


def test_the_csv_of_runs_is_the_json_line_by_line(ladder: tuple[Place, dict[str, Any]]) -> None:
    _, result = ladder
    with Path(result["files"]["comparison.csv"]).open(newline="") as file:
        lines = list(csv.DictReader(file))
    expected = [(row, run) for row in result["rows"] for run in row["runs"]]
    assert len(lines) == len(expected) == 10
    for line, (row, run) in zip(lines, expected, strict=True):
        assert (line["row"], int(line["seed"])) == (row["name"], run["seed"])
        assert float(line["train_seconds"]) == run["train_seconds"] > 0
        assert 0 <= float(line["wait_fraction"]) == run["wait_fraction"] < 1
        assert int(line["num_parameters"]) == row["num_parameters"]
        assert line["run_dir"] == run["run_dir"]
        index = [one["seed"] for one in row["runs"]].index(run["seed"])
        for split in ("validation", "test"):
            for mean, found in row["errors_mm"][split].items():
                for metric, values in found.items():
                    assert float(line[f"{split} {mean} {metric}"]) == values[index]


def test_the_summary_has_mean_and_spread_and_the_papers_apart(
    ladder: tuple[Place, dict[str, Any]],
) -> None:
    _, result = ladder
    with Path(result["files"]["summary.csv"]).open(newline="") as file:
        lines = {line["row"]: line for line in csv.DictReader(file)}
    for row in result["rows"]:
        values = row["errors_mm"]["test"]["frame_wise"]["mpjve_mm"]
        line = lines[row["name"]]
        assert float(line["test frame_wise mpjve_mm mean"]) == pytest.approx(fmean(values))
        assert float(line["test frame_wise mpjve_mm sd"]) == pytest.approx(stdev(values))
    papers = [key for key in lines["capf"] if "paper" in key]
    assert papers == ["paper, Human3.6M: mpjpe_mm", "paper, Human3.6M: p_mpjpe_mm"]
    assert [lines[name][papers[0]] for name in ("pose_only", "concat", "fusion", "capf")] == [
        "51.2",
        "43.5",
        "42.8",
        "41.4",
    ]
    assert lines["capf_shuffled"][papers[0]] == ""


def test_the_picture_is_there_and_large_enough_to_read(
    ladder: tuple[Place, dict[str, Any]],
) -> None:
    content = Path(ladder[1]["files"]["comparison.png"]).read_bytes()
    text = Path(ladder[1]["files"]["comparison.txt"]).read_text()
    assert all(row["name"] in text for row in ladder[1]["rows"])
    assert "10 runs from 1 extraction" in text
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert int.from_bytes(content[16:20], "big") > 1000


def test_savings_are_runs_times_the_recorded_extraction(
    ladder: tuple[Place, dict[str, Any]],
) -> None:
    saved = ladder[1]["saved"]
    assert (saved["num_runs"], saved["each_time_s"], saved["spent_s"]) == (10, 1000.0, 100.0)
    text = savings_text(saved)
    assert "10 runs from 1 extraction" in text
    assert "10 x 100 s = 1,000 s instead of 100 s (900 s saved)" in text


def test_an_extraction_of_unknown_time_is_said_to_be_unknown(tmp_path: Path) -> None:
    row = {
        "store": str(tmp_path / "a.zarr"),
        "keypoint_source": "detector",
        "feature_source": "-",
        "tuning": [],
        "runs": [{"run_dir": "x"}],
    }
    labelled = {**row, "keypoint_source": "gt", "runs": [{"run_dir": "y"}]}
    found = savings([row, labelled])
    assert (found["num_runs"], found["saved_s"]) == (1, None)
    assert "the time of extracting a.zarr is not recorded" in savings_text(found)


@pytest.mark.parametrize("name", shipped("ladders"))
def test_every_number_of_a_paper_is_shown_with_its_label(
    name: str, ladder: tuple[Place, dict[str, Any]]
) -> None:
    numbers = published_numbers(name)
    base = {**ladder[1]["rows"][0], "published": []}
    columns = ["mpjpe_mm", "p_mpjpe_mm", "mpjve_mm"]
    rows = [
        {**base, "name": row, "published": [one.as_json() for one in found]}
        for row, found in numbers.items()
    ]
    text = text_of({**ladder[1], "ladder": name, "columns": columns, "rows": rows or [base]})
    lines = text.splitlines()
    assert (LABEL.replace(", ", ",\n").splitlines()[0] in text) == bool(numbers)
    for row, found in numbers.items():
        line = next(line for line in lines if line.startswith(f"│ {row} "))
        for number in found:
            assert str(number) in line
            assert number.as_json()["label"] == "paper, Human3.6M"
    # Of rows that were not run, below the table.
    below = text_of({**ladder[1], "ladder": name, "rows": [{**base, "name": "other"}]})
    for row, found in numbers.items():
        _, _, line = " ".join(below.split()).partition(f"{LABEL}: {row}, not run here: ")
        assert all(str(number) in line.partition(" mm")[0] for number in found)


def test_the_numbers_of_the_paper_are_those_of_the_paper() -> None:
    steps = [
        str(published_numbers("ladder")[name][0]) for name in ("pose_only", "concat", "fusion")
    ]
    assert steps == ["51.2", "43.5", "42.8"]
    levels = {name: str(found[0]) for name, found in published_numbers("levels").items()}
    assert levels == {
        "without x4": "+1.5",
        "without x8": "+1.0",
        "without x16": "+1.7",
        "without x32": "+0.4",
    }
    assert str(published_numbers("features")["imagenet_features"][0]) == "+4.1 to +6.4"
    frames = [published_numbers("temporal")[f"capf_temporal_{n}"] for n in (1, 3, 9, 27)]
    assert [str(found[0]) for found in frames] == ["44.7", "44.2", "43.4", "40.2"]
    assert [str(found[1]) for found in frames] == ["8.5", "4.8", "3.4", "2.1"]
    assert str(published_numbers("temporal")["poseformer_1"][0]) == "53.2"


def test_runs_of_other_clips_do_not_get_into_one_table(
    ladder: tuple[Place, dict[str, Any]], tmp_path: Path
) -> None:
    rows = json.loads(json.dumps(ladder[1]["rows"]))
    assert evaluated_splits(rows) == ["test"]
    metrics = json.loads((Path(rows[2]["runs"][1]["run_dir"]) / "metrics.json").read_text())
    clips = metrics["splits"]["test"]["per_clip"]
    clips["another"] = clips.pop(next(iter(clips)))
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    rows[2]["runs"][1]["run_dir"] = str(tmp_path)
    with pytest.raises(NotComparable, match=r"row fusion.* different frames of test"):
        evaluated_splits(rows)
    with pytest.raises(NotComparable):
        difference("fusion", "capf", ["test"], rows)


@pytest.mark.slow
def test_equal_settings_are_one_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = []
    lift = runs.lift

    def counted(config: Any, *words: Any, **options: Any) -> Any:
        trained.append(config.train.seed)
        return lift(config, *words, **options)

    monkeypatch.setattr(runs, "lift", counted)
    same = "comparison.rows={a: {lifter.name: pose_only}, b: {lifter.name: pose_only}}"
    result = place.result(sets=(*TWO, same))
    assert trained == [0, 1]
    assert result["rows"][0]["runs"] == result["rows"][1]["runs"]
    assert result["saved"]["num_runs"] == 2


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_rows_that_would_evaluate_one_run_in_two_ways_are_refused(
    place: Place, dry: tuple[str, ...]
) -> None:
    rows = (
        "comparison.rows={a: {lifter.name: pose_only},"
        " b: {lifter.name: pose_only, evaluate.flip_average: false}}"
    )
    ended = place(*dry, sets=(*TWO, rows))
    assert ended.code == 2
    assert "a and b are one run" in ended.err
    assert not place.runs.exists()


@pytest.mark.slow
def test_the_table_names_the_keypoints_that_were_lifted(place: Place) -> None:
    sets = ("evaluate.keypoint_source=gt", "evaluate.allow=[keypoints]")
    found = place.result(sets=(*TWO, *sets))["rows"]
    assert [row["keypoint_source"] for row in found] == ["gt", "gt"]


@pytest.mark.slow
def test_metrics_of_another_store_are_not_taken_for_those_of_the_comparison(
    place: Place, posecache: CommandLine
) -> None:
    def errors() -> list[Any]:
        return [row["errors_mm"]["test"] for row in place.result(sets=TWO)["rows"]]

    before = errors()
    (run, *_) = sorted(place.runs.glob("*-pose_only-s0-*"))
    other = place.folder / "other.zarr"
    write_store(other, SPLITS, seed=1)
    ended = posecache("evaluate", str(run), "--store", str(other))
    assert ended.code == 0, ended.err
    assert json.loads((run / "metrics.json").read_text())["store"] == "other.zarr"
    assert errors() == before


def test_a_run_that_diverges_costs_its_row_and_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lift = runs.lift

    def diverging(config: Any, *words: Any, **options: Any) -> Any:
        if config.train.lr == 0.1 and config.train.seed == 1:
            raise NotFiniteLoss("The loss became nan.")
        return lift(config, *words, **options)

    monkeypatch.setattr(runs, "lift", diverging)
    ended = place(sets=TWO)
    assert ended.code == 3
    assert "1 runs failed" in ended.err
    assert "b seed 1: NotFiniteLoss: The loss became nan." in ended.err
    (file,) = place.runs.glob("comparison-*/comparison.json")
    result = json.loads(file.read_text())
    a, b = result["rows"]
    assert a["seeds_done"] == [0, 1]
    assert b["seeds_done"] == [0]
    assert len(b["errors_mm"]["test"]["frame_wise"]["mpjpe_mm"]) == 1
    (found,) = result["differences"]
    assert found["missing"] == ["b"]
    text = " ".join(ended.out.split())
    assert "(1 of 2 failed)" in text
    assert "runs of b failed" in text
    lines = list(run_lines(result))
    assert [line["error"] is None for line in lines] == [True, True, True, False]
    assert lines[3]["test frame_wise mpjpe_mm"] is None
    assert [line["seeds_failed"] for line in summary_lines(result)] == [0, 1]
    monkeypatch.setattr(runs, "lift", lift)
    assert place.result(sets=TWO)["failed"] == []


@pytest.mark.slow
def test_a_row_without_any_result_stays_in_the_table(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    lift = runs.lift

    def diverging(config: Any, *words: Any, **options: Any) -> Any:
        if config.train.lr == 0.1:
            raise NotFiniteLoss("The loss became nan.")
        return lift(config, *words, **options)

    monkeypatch.setattr(runs, "lift", diverging)
    result = place.result(sets=TWO, code=3)
    assert result["rows"][1]["errors_mm"] == {}
    assert result["splits"] == ["test"]
    assert "failed" in text_of(result)
    assert Path(result["files"]["comparison.png"]).is_file()


def test_an_error_that_concerns_all_runs_ends_the_comparison(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_words: Any, **_options: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(runs, "lift", full)
    assert place(sets=TWO).code == 1


@pytest.mark.slow
def test_every_row_takes_the_rate_that_is_best_on_validation(place: Place) -> None:
    rows = "comparison.rows={a: {lifter.name: pose_only}, b: {lifter.name: simple_baseline}}"
    sets = (*TWO, rows, "comparison.lrs=[0.00001, 0.003]")
    result = place.result(sets=sets)
    for row in result["rows"]:
        tried = {one["lr"]: one["validation_mpjpe_mm"] for one in row["tuning"]}
        assert list(tried) == [0.00001, 0.003]
        assert row["lr"] == min(tried, key=lambda lr: tried[lr])
        chosen = next(one for one in row["tuning"] if one["lr"] == row["lr"])
        assert row["runs"][0]["run_dir"] == chosen["run_dir"]
        for one in row["tuning"]:
            log = (Path(one["run_dir"]) / "log.jsonl").read_text().splitlines()
            errors = [json.loads(line)["validation_mpjpe_mm"] for line in log]
            assert one["validation_mpjpe_mm"] == min(errors)
    assert result["saved"]["num_runs"] == 6
    again = place(sets=sets)
    assert again.out.count("up to date") >= 8
    assert "validation MPJPE in mm by learning rate" in " ".join(again.out.split())
    assert {line["lr"] for line in run_lines(result)} == {row["lr"] for row in result["rows"]}


@pytest.mark.slow
def test_a_rate_that_diverges_is_not_taken(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    lift = runs.lift

    def diverging(config: Any, *words: Any, **options: Any) -> Any:
        if config.train.lr == 1.0:
            raise NotFiniteLoss("The loss became nan.")
        return lift(config, *words, **options)

    monkeypatch.setattr(runs, "lift", diverging)
    rows = "comparison.rows={a: {lifter.name: pose_only}}"
    result = place.result(
        sets=(rows, "comparison.differences=[]", *TWO[2:], "comparison.lrs=[1.0, 0.001]")
    )
    assert result["rows"][0]["lr"] == 0.001
    assert result["rows"][0]["tuning"][0]["error"].startswith("NotFiniteLoss")
    assert result["failed"] == []


@pytest.mark.parametrize(
    "chosen",
    [
        ("train.select=last",),
        ("train.data.validation_split=test", "train.allow_test_selection=true"),
    ],
)
def test_tuning_without_a_choice_on_validation_is_refused(
    place: Place, chosen: tuple[str, ...]
) -> None:
    ended = place(sets=("comparison.lrs=[0.1]", *chosen))
    assert ended.code == 2
    assert "chooses on validation" in ended.err
    assert not place.runs.exists()


def test_the_seconds_of_a_run_that_was_stopped_are_those_of_all_its_parts() -> None:
    parts = [{"elapsed_s": seconds} for seconds in (2.0, 5.0, 1.0, 4.0)]
    assert train_seconds(parts) == 9.0
    assert train_seconds(parts[:2]) == 5.0
    assert math.isclose(train_seconds([]), 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lifters", "temporal", "levels", "points", "keypoints"])
def test_every_other_ladder_runs_to_its_table(place: Place, name: str) -> None:
    result = place.result(name, sets=("comparison.seeds=[0]",))
    assert result["failed"] == []
    assert all(row["seeds_done"] == [0] for row in result["rows"])
    assert all(difference["splits"] for difference in result["differences"])
