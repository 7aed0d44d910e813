"""The command line as a fixture."""

from __future__ import annotations

import pytest

from tests.test_pipeline.commands import CommandLine


@pytest.fixture
def posecache(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CommandLine:
    """`posecache` run in this process."""
    return CommandLine(monkeypatch, capsys)
