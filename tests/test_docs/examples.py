"""What the tutorial's pages ask their reader to have or to write, made for tests."""

from __future__ import annotations

import gc
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lifter import LIFTERS
from stages.extract.datasets import DATASETS
from tests.test_docs.pages import DOCS, blocks
from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.people import person_mm, write_picture

FOCAL_PX, CENTRE_PX, PICTURE = 150.0, (80.0, 60.0), (120, 160)
PEOPLE = {"S1": "train", "S2": "validation", "S3": "test"}
NUM_FRAMES = 4


def titled(page: str, title: str) -> str:
    """The file of that name that a page shows."""
    (text,) = (block.text for block in blocks(DOCS / page) if block.title == title)
    return text


def load(page: str, title: str, name: str, folder: Path, patch: pytest.MonkeyPatch) -> ModuleType:
    """Import a page's Python file as `name`."""
    file = folder / f"{name}.py"
    file.write_text(titled(page, title), "utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    patch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def add_posed(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The adapter of the page on datasets is there and has a name."""
    load("tutorial/your-own-dataset.md", "stages/extract/datasets/posed.py", "posed", folder, patch)
    patch.setitem(DATASETS, "posed", "posed:Posed")


def add_glance(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """The lifter of the page on lifters is there."""
    page, title = "tutorial/your-own-lifter.md", "lifter/models/glance.py"
    module = load(page, title, "glance", folder, patch)
    # Everybody holds the same read-only view: what lies below it is what a new file would change.
    (known,) = (each for each in gc.get_referents(LIFTERS) if isinstance(each, dict))
    patch.setitem(known, "glance", module.Glance)


def write_posed(root: Path) -> None:
    """Three people, one of each split, in the layout that the page makes up."""
    poses = []
    for person, (subject, split) in enumerate(PEOPLE.items()):
        for frame in range(NUM_FRAMES):
            number = person * NUM_FRAMES + frame
            write_picture(root / "pictures" / f"{number:04d}.jpg", PICTURE, seed=number)
            joints_mm = person_mm(frame, distance_mm=4000.0 + 100 * person)
            pose = {"picture": f"{number:04d}.jpg", "subject": subject, "sequence": "sway"}
            pose |= {"split": split, "frame": frame, "joints_mm": joints_mm.tolist()}
            poses.append(pose)
    camera = [[FOCAL_PX, 0, CENTRE_PX[0]], [0, FOCAL_PX, CENTRE_PX[1]], [0, 0, 1]]
    root.mkdir(parents=True, exist_ok=True)
    (root / "poses.json").write_text(json.dumps({"camera": camera, "poses": poses}))


def write_hall(root: Path) -> None:
    """The pictures that the page's box file names."""
    for number in (1, 2):
        write_picture(root / "hall" / f"{number:04d}.jpg", (160, 200), seed=number)


POSED = LayoutCase(
    "posed",
    write_posed,
    annotations=("poses.json",),
    picture="pictures/0000.jpg",
    tolerance_px=0.01,
)
