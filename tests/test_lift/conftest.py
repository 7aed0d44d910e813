"""Fixtures of the stage 2 tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from cache import CacheReader
from tests.test_lift.stores import COMPRESSED, write_codes, write_store, write_values_of_codes

SPLITS = {"train": 24, "validation": 8, "test": 8, "test_new_cameras": 8}


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
    return write_store(path, SPLITS)


@pytest.fixture(scope="session")
def compressed(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """The same samples, four rows compressed together."""
    path = tmp_path_factory.mktemp("stores") / "compressed.zarr"
    return write_store(path, SPLITS, layout=COMPRESSED)


@pytest.fixture(scope="session")
def codes(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """The same samples, the level x8 in 8 bits."""
    return write_codes(tmp_path_factory.mktemp("stores") / "codes.zarr", splits=SPLITS)


@pytest.fixture(scope="session")
def values_of_codes(tmp_path_factory: pytest.TempPathFactory) -> CacheReader:
    """The values that the maps of `codes` stand for, in float32."""
    return write_values_of_codes(tmp_path_factory.mktemp("stores") / "values.zarr", splits=SPLITS)
