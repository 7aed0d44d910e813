from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from lifter import LIFTERS, LifterConfig, build_lifter
from lifter.models.base import FROM_DATA

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lifters.md"
CONTRIBUTING = ROOT / "CONTRIBUTING.md"


def section(name: str) -> str:
    """Return the part of the page under the heading of a lifter."""
    found = re.search(rf"^## `{name}`.*?(?=^## |\Z)", PAGE.read_text(), flags=re.M | re.S)
    assert found, f"docs/lifters.md has no section on {name}"
    return found[0]


def own_options(name: str) -> list[str]:
    given = {*LifterConfig.model_fields, *FROM_DATA}
    return [option for option in inspect.signature(LIFTERS[name]).parameters if option not in given]


@pytest.mark.parametrize("name", sorted(LIFTERS))
def test_the_page_says_of_every_lifter_what_is_published_and_what_is_ours(name: str) -> None:
    text = section(name)
    assert "**As published**" in text
    assert "**Ours**" in text
    for option in own_options(name):
        assert f"`{option}`" in text, f"the option {option} is not described"


W32 = (32, 64, 128, 256)


def rows() -> list[tuple[str, str, str, str]]:
    lines = re.findall(r"^\| `(\w+)` \|(.*)\|(.*)\|(.*)\|$", PAGE.read_text(), flags=re.M)
    return [(name, *(cell.strip() for cell in cells)) for name, *cells in lines]


@pytest.mark.parametrize("row", rows(), ids=lambda row: row[0])
def test_the_table_says_what_a_lifter_reads_and_how_large_it_is(
    row: tuple[str, str, str, str],
) -> None:
    name, reads, predicts, size = row
    kind = LIFTERS[name]
    assert kind.uses_features == ("maps" in reads)
    assert kind.reads_windows == ("window" in reads)
    assert kind.predicts_windows == (predicts == "every frame")
    frames = re.search(r"with (\d+) frames", size)
    model = build_lifter(
        name,
        level_channels=W32 if kind.uses_features else (),
        num_frames=int(frames[1]) if frames else 1,
    )
    assert f"{sum(p.numel() for p in model.parameters()):,}" == size.split()[0]


def test_the_table_has_every_lifter_once() -> None:
    assert sorted(row[0] for row in rows()) == sorted(LIFTERS)


def test_the_page_describes_no_lifter_and_no_option_that_is_not_there() -> None:
    headings = re.findall(r"^## `(\w+)`", PAGE.read_text(), flags=re.M)
    assert sorted(headings) == sorted(LIFTERS)
    for name in headings:
        named = re.findall(r"`lifter\.options\.(\w+)", section(name))
        assert set(named) <= set(own_options(name))


def test_the_example_of_a_lifter_is_one() -> None:
    [code] = re.findall(r"```python\n(.*?)```", CONTRIBUTING.read_text(), flags=re.S)
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    config = LifterConfig(name="linear", options={"dropout": 0.1})
    model = names["Linear"].from_config(config, level_channels=(), num_joints=17)
    keypoints_2d = torch.randn(4, 17, 2)
    outputs = model.train()(keypoints_2d, None, None)
    assert outputs.shape == (4, 17, 3)
    model.loss(outputs, torch.zeros(4, 17, 3), None).backward()
    assert all(p.grad is not None for p in model.parameters())
