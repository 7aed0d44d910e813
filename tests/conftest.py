"""Fixtures that several packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.object_server import bucket, object_server  # noqa: F401, fixtures

TEST_DATA_VARIABLE = "POSECACHE_TEST_DATA"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder with `studio/`, `studio-detector/`, `mmpose-samples/`; skips where there is none."""
    folder = os.environ.get(TEST_DATA_VARIABLE)
    if not folder:
        pytest.skip(f"{TEST_DATA_VARIABLE} is unset: its pictures are not in the repository")
    return Path(folder)
