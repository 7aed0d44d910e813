"""The command line and a store as fixtures."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from cache import FrameStatus
from stages.extract.datasets import DATASETS
from tests.test_lift.stores import write_store
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import SPLITS, Drawn


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that no test changes."""
    folder = tmp_path_factory.mktemp("made") / "made.zarr"
    write_store(folder, SPLITS, status={5: FrameStatus.NO_PERSON})
    return folder


@pytest.fixture
def store(tmp_path: Path, made: Path) -> Path:
    folder = tmp_path / "data" / "made.zarr"
    shutil.copytree(made, folder)
    return folder


@pytest.fixture
def drawn(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The store's dataset is known, and it can be built."""
    monkeypatch.setitem(DATASETS, "drawn", f"{Drawn.__module__}:Drawn")
    request = {"dataset": {"name": "drawn", "options": {}}}
    store.with_suffix(".request.json").write_text(json.dumps(request))
