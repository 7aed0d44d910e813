"""Stores and a run, made once; a folder for each command."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.test_errors.made import make
from tests.test_errors.place import Place


@pytest.fixture(scope="package")
def stores_and_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the wrong inputs are made from."""
    return make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def place(tmp_path: Path, stores_and_run: Path) -> Iterator[Place]:
    """An empty folder, and copies of stores and a run to put into it."""
    place = Place(tmp_path, stores_and_run)
    yield place
    place.close()
