"""Killed at every step: the next run ends with the same bytes, a reader sees whole chunks only."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


def crash(folder: Path, *words: str) -> dict[str, Any]:
    ended = subprocess.run(
        [sys.executable, "-m", "tests.test_reliability.crash_points", str(folder), *words],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    result: dict[str, Any] = json.loads(ended.stdout.splitlines()[-1])
    return result


@pytest.mark.parametrize(("life", "stride", "at_least"), [("fill", 13, 8), ("create", 97, 4)])
def test_a_kill_at_some_steps_loses_nothing(
    tmp_path: Path, life: str, stride: int, at_least: int
) -> None:
    result = crash(tmp_path, life, "--stride", str(stride))
    assert result["fault"] is None
    assert result["points"] >= at_least


@pytest.mark.slow
@pytest.mark.parametrize(("life", "stride", "at_least"), [("fill", 1, 120), ("create", 3, 130)])
def test_a_kill_at_every_step_loses_nothing(
    tmp_path: Path, life: str, stride: int, at_least: int
) -> None:
    result = crash(tmp_path, life, "--stride", str(stride))
    assert result["fault"] is None
    assert result["points"] >= at_least


@pytest.mark.parametrize("life", ["fill", pytest.param("create", marks=pytest.mark.slow)])
def test_a_kill_in_the_middle_of_a_file_loses_nothing(tmp_path: Path, life: str) -> None:
    assert crash(tmp_path, life) == {"points": 6, "fault": None}


@pytest.mark.parametrize(
    ("guard", "life", "stride", "fault"),
    [
        ("commit-last", "fill", 3, "the next run fails"),
        *(
            pytest.param(*guard, marks=pytest.mark.slow)
            for guard in (
                ("commit-revoked-first", "fill", 36, "the next run fails"),
                ("sweeping", "fill", 3, "the bytes are others"),
                ("whole-creation", "create", 7, "the next run fails"),
            )
        ),
    ],
)
def test_the_kills_find_a_guard_that_is_missing(
    tmp_path: Path, guard: str, life: str, stride: int, fault: str
) -> None:
    found = crash(tmp_path, life, "--stride", str(stride), "--without", guard)["fault"]
    assert found is not None
    assert fault in found
