from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from pipeline.commands import extract as extract_command
from pipeline.errors import ConfigError, exit_code
from stages.lift import RunMismatch, StoreMismatch
from tests.test_pipeline.commands import CommandLine

COMMON = {"--help", "--set"}
PICK = {"--preset", "--dataset", "--detector"}

# A knob is a config key set with --set; a new flag is a decision, made here.
FLAGS = {
    (): {"--help", "--version", "--debug", "--install-completion", "--show-completion"},
    ("doctor",): COMMON | {"--json"},
    ("demo",): COMMON | {"--preset", "--device", "--dry-run", "--json"},
    ("ablate",): COMMON | PICK | {"--device", "--dry-run", "--json"},
    ("train-detector",): COMMON | {"--preset", "--dataset", "--device", "--out", "--json"},
    ("convert-checkpoint",): {"--help", "--json"},
    ("find-people",): COMMON | {"--out", "--json"},
    ("extract",): COMMON
    | PICK
    | {"--device", "--strict", "--dry-run", "--json"}
    | {"--workers", "--scheduler", "--part", "--repair"},
    ("lift",): COMMON | PICK | {"--lifter", "--device", "--dry-run", "--json"},
    ("predict",): COMMON
    | {"--run", "--out", "--boxes", "--intrinsics", "--device", "--rerun", "--json"},
    ("evaluate",): COMMON | {"--store", "--json"},
    ("compare",): COMMON | {"--csv", "--json"},
    ("export",): {"--help", "--out", "--format", "--batch", "--maps", "--json"},
    ("report",): COMMON | {"--out", "--control", "--store", "--json"},
    ("robustness",): COMMON | {"--out", "--rows", "--device", "--dry-run", "--json"},
    ("list-runs",): COMMON | {"--where", "--sort", "--json"},
    ("cache", "list"): COMMON | {"--json"},
    ("cache", "info"): COMMON | PICK | {"--json"},
    ("cache", "show"): COMMON | PICK | {"--row", "--item", "--view", "--out", "--json"},
    ("cache", "verify"): COMMON | PICK | {"--quick", "--json"},
    ("cache", "diff"): {"--help", "--values", "--json"},
    ("cache", "recode"): {"--help", "--dtype", "--codec", "--json"}
    | {"--shard-rows", "--inner-rows", "--workers"},
    ("cache", "merge"): {"--help", "--out", "--json"},
    ("cache", "subset"): {"--help", "--out", "--where", "--json"},
    ("cache", "sample"): COMMON | {"--out", "--dtype", "--dry-run", "--json"},
    ("cache", "gc"): COMMON | {"--yes", "--json"},
    ("bench",): {"--help", "--quick", "--json"},
    ("config", "show"): COMMON | PICK | {"--lifter", "--device", "--changed", "--json"},
    ("config", "schema"): {"--help"},
}


@pytest.mark.parametrize("words", FLAGS, ids=" ".join)
def test_the_flags_of_a_command_are_the_agreed_ones(
    words: tuple[str, ...], posecache: CommandLine
) -> None:
    ended = posecache(*words, "--help")
    assert ended.code == 0
    options = ended.out.partition("Examples:")[0]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", options)) == FLAGS[words]


def test_the_command_line_is_imported_without_torch_zarr_or_pydantic() -> None:
    probe = (
        "import sys, pipeline.cli; "
        "print([m for m in ('torch', 'zarr', 'pydantic', 'rich', 'numpy') if m in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, check=True
    )
    assert answer.stdout.strip() == "[]"


def test_the_version_is_that_of_the_package(posecache: CommandLine) -> None:
    ended = posecache("--version")
    assert (ended.code, ended.out) == (0, f"posecache {metadata.version('posecache')}\n")


@pytest.mark.parametrize("words", [(), ("lift",), ("cache",), ("cache", "list")], ids=" ".join)
def test_the_short_option_for_help_works_everywhere(
    words: tuple[str, ...], posecache: CommandLine
) -> None:
    assert posecache(*words, "-h") == posecache(*words, "--help")
    assert posecache(*words, "-h").out.startswith("Usage: posecache")


def test_without_a_command_the_usual_ones_are_named_in_order(posecache: CommandLine) -> None:
    ended = posecache()
    assert ended.code == 0
    places = [ended.out.index(f"\n  {name} ") for name in ("demo", "extract", "lift")]
    assert places == sorted(places)


def test_a_mistyped_command_gets_a_suggestion(posecache: CommandLine) -> None:
    ended = posecache("extrct")
    assert ended.code == 2
    assert "extract" in ended.err


def test_a_mistyped_key_gets_a_suggestion_and_exit_code_2(posecache: CommandLine) -> None:
    ended = posecache("lift", "--set", "train.epoch=3")
    assert ended.code == 2
    assert "did you mean 'train.epochs'?" in ended.err


def test_all_wrong_keys_are_listed_at_once(posecache: CommandLine) -> None:
    ended = posecache("lift", "-s", "train.epoch=3", "-s", "crop.kind=square", "-s", "foo=1")
    assert ended.code == 2
    assert "3 wrong settings" in ended.err
    assert "crop.kind: Input should be 'mmpose'" in ended.err


@pytest.mark.parametrize(
    ("option", "value", "suggestion"),
    [
        ("--dataset", "synthetc", "'synthetic'"),
        ("--detector", "hrnet-w33", "'hrnet-w32'"),
        ("--preset", "defalt", "'default'"),
    ],
)
def test_a_mistyped_choice_gets_a_suggestion(
    option: str, value: str, suggestion: str, posecache: CommandLine
) -> None:
    ended = posecache("extract", option, value)
    assert ended.code == 2
    assert f"did you mean {suggestion}?" in ended.err


def test_a_detector_without_weights_says_how_to_give_them(posecache: CommandLine) -> None:
    ended = posecache("extract", "--detector", "hrnet-w32")
    assert ended.code == 2
    assert "--set detector.weights=FILE" in ended.err


def test_weights_that_do_not_exist_are_a_data_error(tmp_path: Path, posecache: CommandLine) -> None:
    missing = tmp_path / "none.pth"
    ended = posecache("extract", "--detector", "hrnet-w32", "-s", f"detector.weights={missing}")
    assert ended.code == 3
    assert str(missing) in ended.err


def test_a_dataset_folder_without_annotations_is_a_data_error(
    tmp_path: Path, posecache: CommandLine
) -> None:
    ended = posecache(
        "extract", "--dataset", "human36m", "--set", f"dataset.root={tmp_path}", "--dry-run"
    )
    assert ended.code == 3
    assert "annotation" in ended.err


def test_a_missing_store_names_those_beside_it(tmp_path: Path, posecache: CommandLine) -> None:
    (tmp_path / "other.zarr").mkdir()
    ended = posecache("cache", "info", str(tmp_path / "none.zarr"))
    assert ended.code == 3
    assert "other.zarr" in ended.err


def test_a_missing_run_is_a_data_error(tmp_path: Path, posecache: CommandLine) -> None:
    ended = posecache("evaluate", str(tmp_path / "none"))
    assert ended.code == 3
    assert "there is no such run" in ended.err


def test_comparing_needs_two_runs(posecache: CommandLine) -> None:
    assert posecache("compare", "a").code == 2


def test_an_unexpected_error_has_code_1_and_points_to_the_trace(
    posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_args: object, **_options: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(extract_command, "run_extract", fail)
    ended = posecache("extract")
    assert ended.code == 1
    assert "planted" in ended.err
    assert "--debug" in ended.err
    with pytest.raises(RuntimeError, match="planted"):
        posecache("--debug", "extract")


def test_an_interrupted_command_says_how_to_go_on(
    posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_args: object, **_options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(extract_command, "run_extract", interrupt)
    ended = posecache("extract")
    assert ended.code == 130
    assert "goes on from here" in ended.err


def test_exit_codes_tell_usage_data_and_mismatch_apart() -> None:
    class CacheError(ValueError):
        pass

    class CacheMismatch(CacheError):
        pass

    codes = [ConfigError("a"), CacheError("b"), CacheMismatch("c"), KeyError("d")]
    assert [exit_code(error) for error in codes] == [2, 3, 4, 1]


def test_a_run_on_a_store_of_another_kind_is_a_cache_mismatch_and_a_locked_run_is_not() -> None:
    assert exit_code(StoreMismatch("trained on another detector")) == 4
    assert exit_code(RunMismatch("another process is training in it")) == 3


def test_config_show_prints_what_set_changed(posecache: CommandLine) -> None:
    ended = posecache("config", "show", "--json", "--set", "train.lr=0.5")
    assert ended.code == 0
    assert json.loads(ended.out)["config"]["train"]["lr"] == 0.5


def test_config_schema_explains_the_keys(posecache: CommandLine) -> None:
    schema = json.loads(posecache("config", "schema").out)
    assert schema["properties"]["data_root"]["description"]


def test_doctor_json_is_json_with_versions(tmp_path: Path, posecache: CommandLine) -> None:
    ended = posecache("doctor", "--json", "--set", f"data_root={tmp_path}")
    report = json.loads(ended.out)
    assert {"torch", "zarr", "mmpose"} <= {finding["name"] for finding in report["findings"]}
    assert (ended.code == 0) == report["ok"]
