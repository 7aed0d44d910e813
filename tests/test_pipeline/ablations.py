"""A tiny store of random maps, and comparisons on it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.test_lift.stores import write_store
from tests.test_pipeline.commands import CommandLine, Ended

SPLITS = {"train": 16, "validation": 8, "test": 8}
TINY = (
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "train.steps=2",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "train.threads=1",
    "comparison.seeds=[0, 1]",
    "comparison.workers=1",
)
TWO_ROWS = (
    "comparison.rows={a: {lifter.name: pose_only}, b: {lifter.name: pose_only, train.lr: 0.1}}"
)


class Place:
    """A data_root with one store, and a runs_root."""

    def __init__(self, folder: Path, posecache: CommandLine) -> None:
        self.folder, self._posecache = folder, posecache
        self.store = folder / "data" / "synthetic-hrnet-synthetic.zarr"
        write_store(self.store, SPLITS)

    @property
    def runs(self) -> Path:
        return self.folder / "runs"

    def __call__(self, *words: str, sets: tuple[str, ...] = ()) -> Ended:
        roots = (f"data_root={self.folder / 'data'}", f"runs_root={self.runs}")
        options = [part for text in (*roots, *TINY, *sets) for part in ("--set", text)]
        return self._posecache("ablate", *words, *options)

    def result(self, *words: str, sets: tuple[str, ...] = (), code: int = 0) -> dict[str, Any]:
        ended = self(*words, "--json", sets=sets)
        assert ended.code == code, ended.err
        content: dict[str, Any] = json.loads(ended.out)
        return content
