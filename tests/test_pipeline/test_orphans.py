from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

POOL = """
import os, sys, time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pipeline.ablation.orphans import end_with_parent

if __name__ == "__main__":
    begin = end_with_parent if sys.argv[1] == "watched" else None
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=begin) as pool:
        print(pool.submit(os.getpid).result(), flush=True)
        pool.submit(time.sleep, 15).result()
"""


def is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(("worker", "dies"), [("watched", True), ("plain", False)])
def test_a_worker_ends_with_a_command_that_is_killed(
    worker: str, dies: bool, tmp_path: object
) -> None:
    script = os.path.join(str(tmp_path), "pool.py")
    with open(script, "w", encoding="utf-8") as file:
        file.write(POOL)
    with subprocess.Popen(
        [sys.executable, script, worker],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        text=True,
    ) as command:
        assert command.stdout is not None
        pid = int(command.stdout.readline())
        assert is_alive(pid)
        command.kill()
        command.wait()
        until = time.monotonic() + (10 if dies else 2)
        while is_alive(pid) and time.monotonic() < until:
            time.sleep(0.1)
        alive = is_alive(pid)
        if alive:
            os.kill(pid, signal.SIGKILL)
    assert alive is not dies
