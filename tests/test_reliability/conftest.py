"""One undisturbed extraction for all tests, and the command line in this process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from tests.test_cache.factory import store_bytes
from tests.test_pipeline.commands import CommandLine
from tests.test_reliability.command import STORE, extract


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data_root with the store of the command; to be copied, not changed."""
    base = tmp_path_factory.getbasetemp()
    # The processes of one test run share it.
    root = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "undisturbed"
    with root.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not root.exists():
            ended = extract(root)
            assert ended.returncode == 0, ended.stderr
    return root


@pytest.fixture(scope="session")
def expected(undisturbed: Path) -> dict[str, bytes]:
    """Its files."""
    return store_bytes(undisturbed / STORE)


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)
