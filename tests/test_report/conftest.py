"""Finished runs on a tiny store, and pages of them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from cache import CacheReader
from pipeline.config import load_config
from pipeline.runs.lifting import lift
from stages.extract.datasets import DATASETS
from tests.test_lift.stores import write_store
from tests.test_pipeline.ablations import TINY
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import SPLITS, Drawn

RUNS = {
    "capf": ("lifter.name=capf", "lifter.reference_rule=geometric"),
    "pose_only": ("lifter.name=pose_only",),
    "other": ("lifter.name=capf", "train.lr=0.001"),
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `data/drawn.zarr` and the runs of `RUNS`; no test changes it."""
    folder = tmp_path_factory.mktemp("trained")
    store = folder / "data" / "drawn.zarr"
    write_store(store, SPLITS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(DATASETS, "drawn", f"{Drawn.__module__}:Drawn")
        for name, changes in RUNS.items():
            sets = [*TINY, *changes, "dataset.name=drawn", f"store={store}"]
            config = load_config(sets=[*sets, f"runs_root={folder / 'runs'}"])
            lift(config, CacheReader(store)).run_dir.rename(folder / "runs" / name)
    return folder


@pytest.fixture
def runs(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the runs, of a dataset whose pictures can be drawn."""
    monkeypatch.setitem(DATASETS, "drawn", f"{Drawn.__module__}:Drawn")
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)
