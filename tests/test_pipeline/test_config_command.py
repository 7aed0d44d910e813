from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.config import RunConfig, load_config, resolve_config
from pipeline.config_text import annotated_yaml, only_changed
from pipeline.layers import leaves
from pipeline.settings import shipped, validate
from tests.test_pipeline.commands import CommandLine


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(text)


def origin_in(page: str, key: str) -> str:
    """The comment behind a key of the page; keys are indented by two per level."""
    *above, name = key.split(".")
    lines, depth = page.splitlines(), 0
    for word in above:
        lines = lines[lines.index(f"{'  ' * depth}{word}:") + 1 :]
        depth += 1
    line = next(line for line in lines if line.startswith(f"{'  ' * depth}{name}:"))
    return line.rpartition("# ")[2]


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """A preset on top of a preset on top of a shipped one."""
    below = tmp_path / "below.yaml"
    below.write_text("extends: paper\ntrain: {lr: 0.5, epochs: 7}\n")
    top = tmp_path / "top.yaml"
    top.write_text(f"extends: {below}\ntrain: {{lr: 0.25}}\n")
    return top


def test_every_value_has_the_origin_that_decided_it(mine: Path, posecache: CommandLine) -> None:
    words = ["--preset", str(mine), "--lifter", "pose_only", "--device", "cuda"]
    words += ["--set", "dataset.options.stride=5", "--set", "lifter.width=64"]
    ended = posecache("config", "show", *words)
    assert ended.code == 0
    expected = {
        "data_root": "default",
        "train.lr": f"preset {mine}",
        "train.epochs": f"preset {mine.with_name('below.yaml')}",
        "train.data.keypoint_source": "preset paper",
        "crop.kind": "preset reference",
        "dataset.name": "dataset human36m-toolbox",
        "dataset.options.stride": "--set",
        "dataset.options.protocol": "preset reference",
        "detector.taps": "detector hrnet-w32",
        "detector.device": "option --device",
        "lifter.name": "option --lifter",
        "lifter.width": "--set",
    }
    assert {key: origin_in(ended.out, key) for key in expected} == expected


def test_the_comments_stand_below_each_other(posecache: CommandLine) -> None:
    lines = posecache("config", "show").out.splitlines()
    places = [line.index("  # ") for line in lines if "  # " in line]
    assert len(places) > 50
    assert sorted(places)[len(places) // 20] == sorted(places)[-len(places) // 20]


@pytest.mark.parametrize("preset", shipped("presets"))
def test_what_is_printed_is_yaml_of_the_same_configuration(
    preset: str, posecache: CommandLine
) -> None:
    page = posecache("config", "show", "--preset", preset).out
    assert validate(RunConfig, loaded(page)) == load_config(preset)


def test_only_what_was_set_is_a_preset_that_gives_the_same_configuration(
    mine: Path, tmp_path: Path, posecache: CommandLine
) -> None:
    words = ["--preset", str(mine), "--set", "train.seed=3", "--set", "detector.config_changes={}"]
    page = posecache("config", "show", "--changed", *words).out
    assert "# default" not in page
    kept = tmp_path / "kept.yaml"
    kept.write_text(page)
    assert load_config(str(kept)) == load_config(words[1], sets=["train.seed=3"])


def test_json_has_the_values_and_an_origin_for_each(posecache: CommandLine) -> None:
    answer = json.loads(posecache("config", "show", "--json", "--set", "train.lr=0.5").out)
    assert answer["config"] == load_config(sets=["train.lr=0.5"]).dump()
    assert answer["origins"].keys() == {".".join(path) for path, _ in leaves(answer["config"])}
    assert answer["origins"]["train.lr"] == "--set"
    changed = json.loads(posecache("config", "show", "--json", "--changed").out)
    assert "default" not in changed["origins"].values()


def test_a_mapping_that_is_set_replaces_the_one_below_and_its_origins() -> None:
    resolved = resolve_config("paper", sets=["dataset.options={stride: 2}"])
    assert resolved.config.dataset.options == {"stride": 2}
    assert resolved.origins["dataset.options.stride"] == "--set"
    assert "dataset.options.protocol" not in resolved.origins


def test_of_two_words_on_a_key_the_last_counts_and_a_ladder_keeps_the_seeds() -> None:
    twice = resolve_config(sets=["train={lr: 1.0}", "train.seed=2"])
    assert (twice.origins["train.lr"], twice.origins["train.seed"]) == ("--set", "--set")
    assert twice.origins["train.batch_size"] == "default", "the preset's was replaced"
    assert twice.config.train.batch_size == RunConfig.model_fields["train"].default.batch_size
    ladder = resolve_config("demo", ladder="lifters")
    assert ladder.origins["comparison.seeds"] == "preset demo"
    assert ladder.origins["comparison.ladder"] == "ladder lifters"
    assert ladder.origins["comparison.pictures_of"] == "default"


def test_texts_that_yaml_would_misread_are_quoted() -> None:
    tree = {"a": "no", "b": "1e-3", "c": ["x: y", "# z"], "d": {"e.f": None, "g": 1e-05}, "h": {}}
    origins = dict.fromkeys((".".join(path) for path, _ in leaves(tree)), "default")
    assert loaded(annotated_yaml(tree, origins)) == tree
    assert only_changed(tree, origins) == {}
    assert only_changed(tree, {**origins, "d.g": "--set"}) == {"d": {"g": 1e-05}}
