"""Fixtures of the stage 2 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cache import CacheReader
from tests.test_lift.stores import write_store


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """Random samples: rows 0-23 train, then 8 each of validation, test and test_new_cameras."""
    path = tmp_path_factory.mktemp("stores") / "random.zarr"
    return write_store(path, {"train": 24, "validation": 8, "test": 8, "test_new_cameras": 8})
