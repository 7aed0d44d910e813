"""docs/feature-sources.md: its module is a feature source, and its commands use one."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cache import SKELETONS, SkeletonMismatch, conversion_note
from stages.extract.detectors.features.torch_module import build_torch_module
from tests.test_docs import pages
from tests.test_docs.commands import config_of
from tests.test_docs.pages import DOCS, commands

PAGE = (Path(__file__).parents[2] / "docs" / "feature-sources.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, flags=re.DOTALL)


@pytest.fixture
def module(tmp_path: Path) -> Path:
    path = tmp_path / "my_vit.py"
    path.write_text(blocks("python")[0])
    return path


def test_the_module_gives_one_level_of_14_px_cells(module: Path) -> None:
    source = build_torch_module(f"{module}:build", {"dim": 16, "depth": 1, "heads": 2}, threads=1)
    (level,) = source.levels
    assert (level.name, level.map_shape, level.stride) == ("x14", (18, 14, 16), 14)
    crops = np.zeros((2, 252, 196, 3), dtype=np.uint8)
    crops[0, 14:28, 28:42] = 255  # patch (1, 2)
    maps = source.detect(crops).features["x14"]
    apart = np.abs(maps[0] - maps[1]).sum(axis=-1)
    assert int(apart.argmax()) == 1 * 14 + 2


def test_the_module_loads_a_file_of_weights(module: Path, tmp_path: Path) -> None:
    options = {"dim": 16, "depth": 1, "heads": 2}
    source = build_torch_module(f"{module}:build", options)
    state = {
        name.removeprefix("network."): torch.full(value.shape, 0.01)
        for name, value in source._network.model.state_dict().items()
    }
    save_file(state, tmp_path / "weights.safetensors")
    loaded = build_torch_module(f"{module}:build", options, tmp_path / "weights.safetensors")
    assert loaded.identity()["weights"] != source.identity()["weights"]


def test_its_commands_name_feature_sources() -> None:
    found = [
        each for block in pages.blocks(DOCS / "feature-sources.md") for each in commands(block)
    ]
    configs = [config_of(each.words) for each in found if each.words[0] == "posecache"]
    assert configs
    assert all(config.detector.timm or config.detector.module for config in configs)


def test_the_table_of_joint_sets_is_the_codes() -> None:
    section = PAGE[PAGE.index("## Joint sets") :]
    rows = re.findall(r"^\| (`.*?) \| `(\w+)` \| (\w+)", section, flags=re.MULTILINE)
    documented = {
        (source, target): kind
        for sources, target, kind in rows
        for source in re.findall(r"`(\w+)`", sources)
    }
    for source in SKELETONS:
        assert f"`{source}`" in section
        for target in SKELETONS:
            if source == target:
                continue
            kind = documented.pop((source, target), None)
            try:
                note = conversion_note(source, target)
            except SkeletonMismatch:
                assert kind is None, (source, target)
            else:
                assert kind == ("exact" if note is None else "approximation"), (source, target)
    assert not documented
