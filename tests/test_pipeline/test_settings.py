from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from pipeline import settings
from pipeline.config import load_config
from pipeline.errors import ConfigError

KEYS = st.lists(st.text("abc", min_size=1, max_size=3), min_size=1, max_size=4)
VALUES = st.none() | st.integers() | st.text("xyz", max_size=4)


class Inner(BaseModel, extra="forbid"):
    epochs: int = 1
    batch_size: int = 8


class Outer(BaseModel, extra="forbid"):
    train: Inner = Inner()
    other: Inner | None = None
    name: str = "x"


def lookup(tree: dict[str, Any], key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree


@given(KEYS, VALUES)
def test_an_assigned_value_is_found_under_its_key(parts: list[str], value: Any) -> None:
    key = ".".join(parts)
    assert lookup(settings.assign({}, key, value), key) == value


@given(KEYS, VALUES)
def test_assigning_leaves_the_given_tree_alone(parts: list[str], value: Any) -> None:
    tree = {"a": {"b": {"c": 1}}, "b": 2}
    settings.assign(tree, ".".join(parts), value)
    assert tree == {"a": {"b": {"c": 1}}, "b": 2}


def test_merging_keeps_what_the_upper_tree_does_not_name() -> None:
    merged = settings.merge({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 3}, "d": [2, 3]})
    assert merged == {"a": {"b": 3, "c": 2}, "d": [2, 3]}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.b=3", ("a.b", 3)),
        ("a=1e-3", ("a", 1e-3)),
        ("a=[1, 2]", ("a", [1, 2])),
        ("a=true", ("a", True)),
        ("a=x=y", ("a", "x=y")),
        ("a=", ("a", None)),
        ("a=null", ("a", None)),
    ],
)
def test_values_of_set_are_read_as_yaml(text: str, expected: tuple[str, Any]) -> None:
    assert settings.parse_set(text) == expected


@pytest.mark.parametrize("text", ["train.epochs", "=3", "a=[1"])
def test_a_malformed_set_is_refused_with_the_text(text: str) -> None:
    with pytest.raises(ConfigError, match="--set"):
        settings.parse_set(text)


def test_an_unknown_key_gets_the_nearest_one_beside_it() -> None:
    with pytest.raises(
        ConfigError, match=r"train\.epoch: unknown key; did you mean 'train\.epochs'"
    ):
        settings.validate(Outer, {"train": {"epoch": 3}})


def test_a_key_in_the_wrong_place_gets_its_place() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'train\.batch_size'"):
        settings.validate(Outer, {"batch_size": 3})


def test_all_wrong_keys_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        settings.validate(Outer, {"train": {"epoch": 3, "batch_size": "many"}, "nam": 1})
    text = str(caught.value)
    assert text.startswith("3 wrong settings")
    assert all(key in text for key in ("train.epoch", "train.batch_size", "nam: unknown"))


def test_keys_of_optional_models_are_known() -> None:
    assert "other.epochs" in settings.dotted_keys(Outer)


def test_an_unknown_preset_names_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match="did you mean 'demo'"):
        settings.preset_chain("dmo")


def test_a_preset_file_can_extend_a_shipped_one(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("extends: default\ntrain: {lr: 0.5}\n")
    (name, own), (below, _) = settings.preset_chain(str(file))
    assert (name, below, own) == (str(file), "default", {"train": {"lr": 0.5}})
    assert load_config(str(file)).train.lr == 0.5
    assert load_config(str(file)).train.batch_size == load_config("default").train.batch_size


def test_presets_that_extend_each_other_in_a_circle_are_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text(f"extends: {second}\n")
    second.write_text(f"extends: {first}\n")
    with pytest.raises(ConfigError, match="extend each other"):
        settings.preset_chain(str(first))


def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.yaml"
    file.write_text("- a\n")
    with pytest.raises(ConfigError, match="must be a mapping"):
        settings.read_yaml(file)


def test_a_file_that_is_no_yaml_is_refused_with_its_name(tmp_path: Path) -> None:
    file = tmp_path / "broken.yaml"
    file.write_text("a: [1\n")
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        settings.read_yaml(file)
