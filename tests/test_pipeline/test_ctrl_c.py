"""Ctrl-C in real processes; tests/test_scaling has those of `extract`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SMALL = ("lifter.width=16", "lifter.depth=1", "lifter.deform_heads=2", "train.batch_size=4")
EPOCHS = "train.epochs=60"


def sets(*texts: str) -> list[str]:
    return [word for text in texts for word in ("--set", text)]


def stopped(words: list[str], begun: Callable[[], bool]) -> tuple[int, str, str]:
    """Start a command in its own group, send what a terminal's Ctrl-C sends once it has begun."""
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 180
    while not begun():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def epochs(root: Path) -> int:
    return sum(len(log.read_text().splitlines()) for log in root.glob("*/log.jsonl"))


def test_a_stopped_lift_says_how_to_go_on_and_goes_on(made: Path, tmp_path: Path) -> None:
    words = ["lift", "--lifter", "pose_only"]
    words += sets(f"store={made}", f"runs_root={tmp_path}", "train.steps=null", EPOCHS, *SMALL)
    code, _, err = stopped(words, lambda: epochs(tmp_path) >= 3)
    assert code == 128 + signal.SIGINT
    assert err.strip() == (
        "Stopped: Finished chunks and epochs are kept. The same command goes on from here."
    )
    kept = epochs(tmp_path)
    assert 3 <= kept < 60
    again = subprocess.run(
        [sys.executable, "-m", "pipeline", *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert again.returncode == 0, again.stderr
    assert "epoch" in again.stdout
    assert epochs(tmp_path) == 60


def test_a_stopped_comparison_says_so_once_though_it_has_workers(
    made: Path, tmp_path: Path
) -> None:
    rows = "comparison.rows={pose_only: {lifter.name: pose_only}, capf: {lifter.name: capf}}"
    words = ["ablate", *sets(f"store={made}", f"runs_root={tmp_path}", rows, *SMALL)]
    words += sets("train.steps=null", "train.epochs=2000", "comparison.workers=2")
    words += sets("comparison.differences=[]", "comparison.pictures_of=null")
    code, _, err = stopped(words, lambda: epochs(tmp_path) >= 2)
    assert code == 128 + signal.SIGINT
    assert err.strip() == (
        "Stopped: Finished chunks, epochs and runs are kept. The same command goes on from here."
    )


def test_a_stopped_check_of_a_store_says_that_it_begins_anew(tmp_path: Path) -> None:
    """The command is stopped while its first lines run: even then it ends without a trace."""
    script = (
        "import os, signal, sys\n"
        "import pipeline.stores.facts as stores\n"
        "stores.verify_store = lambda *a, **k: os.kill(os.getpid(), signal.SIGINT)\n"
        "from pipeline.cli import main\n"
        f"sys.argv = ['posecache', 'cache', 'verify', {str(tmp_path)!r}]\n"
        "main()\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert ended.returncode == 128 + signal.SIGINT
    assert ended.stderr == "Stopped: The store is as it was. The same command begins anew.\n"
