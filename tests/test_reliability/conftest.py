"""One undisturbed extraction for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.test_cache.factory import store_bytes
from tests.test_reliability.command import STORE, extract


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_root with the store of the command; to be copied, not changed."""
    root = tmp_path_factory.mktemp("undisturbed")
    ended = extract(root)
    assert ended.returncode == 0, ended.stderr
    return root


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> dict[str, bytes]:
    """Its files."""
    return store_bytes(undisturbed / STORE)
