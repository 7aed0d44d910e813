"""docs/experiments.md names every preset and ladder there is, and its example runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cache import CacheReader, LevelSpec
from tests.test_lift.stores import write_store

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "experiments.md").read_text()
CONFIGS = ROOT / "pipeline" / "configs"


def first_column(heading: str) -> list[str]:
    """Return the names in the first column of the table under a heading."""
    part = PAGE.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([\w-]+)` \|", part, flags=re.M)


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
