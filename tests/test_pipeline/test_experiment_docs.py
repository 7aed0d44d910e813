"""docs/experiments.md: its commands can be given, and it names every preset and ladder there is."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
import typer

from cache import CacheReader, LevelSpec
from pipeline.ablation.plan import plan_rows
from pipeline.cli import app
from pipeline.config import load_config
from tests.test_lift.stores import write_store
from tests.test_scaling.test_documentation import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "experiments.md").read_text()
CONFIGS = ROOT / "pipeline" / "configs"


def commands() -> list[list[str]]:
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, flags=re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines() if line]


def first_column(heading: str) -> list[str]:
    """Return the names in the first column of the table under a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", part, flags=re.M)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_a_command_parses_and_its_settings_are_valid(words: list[str]) -> None:
    assert words[0] == "posecache"
    parse(typer.main.get_command(app), words)
    given: dict[str, list[str]] = defaultdict(list)
    for option, value in pairwise(words):
        if option.startswith("--"):
            given[option].append(value)
    ladder = words[2] if words[1] == "ablate" and words[2][0] != "-" else None
    preset = (given["--preset"] or ["default"])[0]
    dataset = (given["--dataset"] or [None])[0]
    config = load_config(preset, ladder=ladder, dataset=dataset, sets=given["--set"])
    if words[1] == "ablate":
        assert plan_rows(config)


@pytest.mark.parametrize(("heading", "folder"), [("One run", "presets"), ("Ladders", "ladders")])
def test_every_preset_and_ladder_is_in_its_table(heading: str, folder: str) -> None:
    assert sorted(first_column(heading)) == sorted(
        path.stem for path in (CONFIGS / folder).glob("*.yaml")
    )


def test_the_example_of_windows_gives_what_it_says(tmp_path: Path) -> None:
    level = LevelSpec(name="x4", channels=3, height=4, width=3, stride=4)
    path = tmp_path / "data" / "synthetic-hrnet-synthetic.zarr"
    write_store(path, {"train": 60}, levels=(level,))
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    names: dict[str, object] = {}
    exec(code.replace('"data/', f'"{tmp_path}/data/'), names)
    windows = names["windows"]
    assert isinstance(names["reader"], CacheReader)
    assert windows.places.shape == (2, 27)  # type: ignore[attr-defined]
    maps = windows.maps["x4"]  # type: ignore[attr-defined]
    assert maps.shape == (windows.places.max() + 1, 4, 3, 3)  # type: ignore[attr-defined]
