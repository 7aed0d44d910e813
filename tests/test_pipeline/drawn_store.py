"""A store of random maps whose dataset can be built, and what tests of commands do with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cache import FrameStatus, RowPlan
from stages.extract.datasets import FrameError
from tests.test_lift.stores import IMAGE_SIZE, build_plan
from tests.test_pipeline.commands import CommandLine

SPLITS = {"train": 16, "validation": 8, "test": 8}
NUM_ROWS = sum(SPLITS.values())


class Drawn:
    """The pictures of the store that `write_store` makes: red, row 3 cannot be read."""

    name, cpu_bound, box_origin = "drawn", False, None

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    def plan(self) -> RowPlan:
        return build_plan(SPLITS, seed=self._seed)

    def picture_key(self, row: int) -> int:
        return row

    def imported_keypoints(self) -> dict[str, Any]:
        return {}

    def load_image(self, row: int) -> np.ndarray[Any, Any]:
        if row == 3:
            raise FrameError(FrameStatus.MISSING, "row 3 has no picture")
        return np.full((*IMAGE_SIZE, 3), (200, 20, 20), dtype=np.uint8)

    def content_identity(self) -> dict[str, Any]:
        return {"dataset": "random", "seed": self._seed}


def unfinished(store: Path, chunk: int = 1) -> None:
    (store / f"commit/c.{chunk}").unlink()


def answer(posecache: CommandLine, *words: str, code: int = 0) -> dict[str, Any]:
    ended = posecache("cache", *words, "--json")
    assert ended.code == code, ended.err
    content: dict[str, Any] = json.loads(ended.out)
    return content
