"""A run trained for two steps on drawn people, and the pictures of its test set."""

from __future__ import annotations

import contextlib
import csv
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.cli import main
from stages.extract.crops import box_for_row
from stages.extract.datasets.synthetic.dataset import Pool, Synthetic
from tests.test_pipeline.commands import CommandLine

POOLS = {
    "train": Pool("T", 2, 1, 2, cameras=1),
    "validation": Pool("V", 1, 1, 2, cameras=1),
    "test": Pool("E", 2, 1, 3, cameras=1),
}
POOLS_TEXT = json.dumps({name: vars(pool) for name, pool in POOLS.items()})
TINY = (
    *("lifter.width=16", "lifter.depth=1", "lifter.num_heads=2", "lifter.deform_heads=2"),
    *("train.steps=2", "train.batch_size=4", "train.data.validation_split=validation"),
)


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)


@dataclass(frozen=True)
class Place:
    """A folder with everything that a prediction needs."""

    root: Path
    run: Path
    pictures: Path
    boxes: Path
    test_rows: tuple[int, ...]
    dataset: Synthetic


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The run is of `capf` on the maps of the shipped detector."""
    root = tmp_path_factory.mktemp("predict")
    words = ["lift", "--dataset", "synthetic", "--json"]
    sets = [f"dataset.options.pools={POOLS_TEXT}", "extract.workers=1", *TINY]
    sets += [f"data_root={root / 'data'}", f"runs_root={root / 'runs'}"]
    _run(words, sets)
    (run,) = (path for path in (root / "runs").iterdir() if path.is_dir())
    dataset = Synthetic(pools=POOLS)
    plan = dataset.plan()
    rows = tuple(plan.index["split"].rows_of("test").tolist())
    pictures = root / "pictures"
    lines = []
    for row in rows:
        clip = plan.index["clip"].words()[row].replace("/", "-")
        folder = pictures / clip
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(plan.index['frame'].codes[row]):04d}.png"
        cv2.imwrite(str(folder / name), dataset.load_image(row)[..., ::-1])
        box = box_for_row(plan, row, "gt2d")
        lines.append([f"{clip}/{name}", "0", *(repr(float(edge)) for edge in box), "1"])
    boxes = root / "boxes.csv"
    with boxes.open("w", newline="") as file:
        csv.writer(file).writerows([["file", "track", "x1", "y1", "x2", "y2", "score"], *lines])
    return Place(root, run, pictures, boxes, rows, dataset)


def _run(words: list[str], sets: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        changes = (part for key in sets for part in ("--set", key))
        patch.setattr("sys.argv", ["posecache", *words, *changes])
        with contextlib.suppress(SystemExit):
            main()


def numbers(path: Path) -> dict[str, np.ndarray]:
    """Return the arrays of a file of predictions."""
    with np.load(path) as file:
        return {name: file[name] for name in file.files}
