"""Data and names are durable before the commit appears, and the commit is gone before they are."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NOTICED = {
    "commit-last": "chunk 0 is committed before its data are there",
    "commit-revoked-first": "c.0.0.0.0.0 is removed while its chunk is committed",
    "whole-creation": "a.zarr/zarr.json is named before it is synced",
    "rename": "a.zarr/commit/c.0 is written under its final name",
    "synced-content": "a.zarr/status/c.0 is named before it is synced",
    "synced-names": "chunk 0 is committed while the name of a.zarr/status/c.0 may be lost",
}
"""What is found without a guard."""


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    folder = str(tmp_path_factory.mktemp("order"))
    ended = subprocess.run(
        [sys.executable, "-m", "tests.test_reliability.order", folder, *NOTICED],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, list[str]] = json.loads(ended.stdout)
    return found


def test_data_are_durable_before_the_commit_and_gone_after_it(faults: dict[str, list[str]]) -> None:
    assert faults["all"] == []


@pytest.mark.parametrize("guard", NOTICED)
def test_another_order_is_found(faults: dict[str, list[str]], guard: str) -> None:
    assert any(NOTICED[guard] in fault for fault in faults[guard]), faults[guard][:5]
