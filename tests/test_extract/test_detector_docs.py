from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from cache.skeletons import get_skeleton
from pipeline.config import DetectorConfig
from pipeline.detectors import mmpose_config_file, taps_of
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from tests.test_extract.presets import PRESETS, read_preset

PAGE = Path(__file__).parents[2] / "docs" / "detectors.md"
FLOAT16_BYTES, NUM_VIEWS = 2, 2


def row_of(name: str) -> str:
    """Return the line that the page's table has for a preset."""
    detector, crop = read_preset(name)
    assert detector.taps is not None
    assert detector.skeleton is not None
    height, width = crop.input_size
    levels = ", ".join(f"{tap.name} {tap.channels}" for tap in detector.taps)
    words = sum(
        (height // tap.stride) * (width // tap.stride) * (tap.channels or 0)
        for tap in detector.taps
    )
    size_kb = round(words * FLOAT16_BYTES * NUM_VIEWS / 1000)
    joints = get_skeleton(detector.skeleton).num_joints
    return f"| `{name}` | {height}x{width} | {levels} | {joints} | {size_kb} |"


def test_the_table_of_the_page_is_that_of_the_presets() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| `[\w-]+` \| \d", line)]
    assert sorted(rows) == sorted(row_of(name) for name in PRESETS)


def test_the_numbers_of_the_page_are_the_published_ones() -> None:
    # HRNet-W32: 184,320 numbers per view, float16, two views.
    assert row_of("hrnet-w32").endswith(f"| 17 | {round(184_320 * 4 / 1000)} |")


def test_the_pages_example_of_own_taps_runs() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    trees: list[Any] = [YAML(typ="safe", pure=True).load(block) for block in blocks]
    examples = [tree["detector"] for tree in trees if "taps" in tree.get("detector", {})]
    assert examples
    for example in examples:
        stated = DetectorConfig.model_validate(example)
        assert stated.config is not None
        detector = MmposeTopdown(mmpose_config_file(stated.config), None, taps=taps_of(stated))
        crops = np.zeros((1, *detector.input_size, 3), dtype=np.uint8)
        assert [level.name for level in detector.levels] == ["x4", "x8", "x16"]
        assert [level.channels for level in detector.levels] == [256, 256, 384]
        assert detector.detect(crops).features["x4"].shape == (1, 64, 48, 256)


@pytest.mark.parametrize("name", ["hrnet-w32", "vitpose-b"])
def test_a_planted_error_in_a_row_is_seen(name: str) -> None:
    text = PAGE.read_text()
    assert row_of(name) in text
    assert row_of(name).replace(" 17 |", " 18 |") not in text
