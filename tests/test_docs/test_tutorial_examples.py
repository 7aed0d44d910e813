"""The adapter and the lifter that the tutorial writes pass what all adapters and lifters pass."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tests.test_extract.test_dataset_contract as dataset_contract
from lifter import LIFTERS, build_lifter
from stages.extract.datasets import build_dataset
from tests.test_docs.examples import CENTRE_PX, FOCAL_PX, POSED, add_glance, add_posed
from tests.test_extract.layouts.people import person_mm, pinhole_px
from tests.test_lifter import lifters as small_lifters
from tests.test_lifter import test_lifter_contract as lifter_contract


def functions_of(module: Any) -> dict[str, Callable[..., None]]:
    return {name: each for name, each in vars(module).items() if name.startswith("test_")}


def parametrized(function: Callable[..., None]) -> dict[str, list[Any]]:
    """Argument -> values, of the marks of a test with single arguments."""
    marks = [mark for mark in getattr(function, "pytestmark", ()) if mark.name == "parametrize"]
    return {mark.args[0]: list(mark.args[1]) for mark in marks if isinstance(mark.args[0], str)}


DATASET_TESTS = [
    name
    for name, function in functions_of(dataset_contract).items()
    if "case" in inspect.signature(function).parameters
]
GROUPS = (small_lifters.names(), small_lifters.with_features())
LIFTER_TESTS = [
    name
    for name, function in functions_of(lifter_contract).items()
    if parametrized(function).get("name") in GROUPS
]


@pytest.fixture
def posed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    add_posed(tmp_path, monkeypatch)
    root = tmp_path / "data"
    root.mkdir()
    POSED.write(root)
    return root


@pytest.mark.parametrize("name", DATASET_TESTS)
def test_the_adapter_keeps_the_contract_of_datasets(name: str, posed: Path, tmp_path: Path) -> None:
    given = {"case": POSED, "root": posed, "tmp_path": tmp_path}
    function = functions_of(dataset_contract)[name]
    function(**{each: given[each] for each in inspect.signature(function).parameters})


def test_the_adapters_labels_are_those_of_another_formula(posed: Path) -> None:
    plan = build_dataset("posed", root=posed).plan()
    expected = pinhole_px(person_mm(2), (FOCAL_PX, FOCAL_PX), CENTRE_PX)
    np.testing.assert_allclose(plan.joints_2d_px[2], expected, atol=1e-2)
    assert plan.index["split"].words() == ["train"] * 4 + ["validation"] * 4 + ["test"] * 4


def test_the_contracts_were_found() -> None:
    assert len(DATASET_TESTS) >= 10
    assert len(LIFTER_TESTS) >= 12


@pytest.mark.parametrize("name", LIFTER_TESTS)
def test_the_lifter_keeps_the_contract_of_lifters(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_glance(tmp_path, monkeypatch)
    function = functions_of(lifter_contract)[name]
    values = parametrized(function)
    given = {"name": "glance", "tmp_path": tmp_path, "num_joints": 14}
    given |= {each: values[each][0] for each in values if each not in given}
    wanted = inspect.signature(function).parameters
    given |= {"setting": "reference_rule", "value": "geometric"} if "setting" in wanted else {}
    function(**{each: given[each] for each in wanted})


def test_the_lifters_own_option_reaches_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "glance" not in LIFTERS
    add_glance(tmp_path, monkeypatch)
    model = build_lifter("glance", level_channels=(4,), width=16, options={"dropout": 0.25})
    assert model.think[2].p == 0.25  # type: ignore[index, union-attr]
    assert model.place.out_features == 16


def test_a_lifter_that_breaks_the_contract_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_glance(tmp_path, monkeypatch)
    import sys

    kind = sys.modules["glance"].Glance
    answer = kind.forward
    monkeypatch.setattr(kind, "forward", lambda *all_, **more: 1000 * answer(*all_, **more))
    with pytest.raises(AssertionError, match="metres"):
        lifter_contract.test_predictions_are_finite_metres_of_the_targets_shape("glance", 17)
