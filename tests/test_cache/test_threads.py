"""Work shared by threads, and files written by them."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from threading import Event, current_thread, main_thread

import numpy as np
import pytest

from cache.storage.files import write_files
from cache.threads import for_each


def test_every_item_is_worked_on_once() -> None:
    done: list[int] = []
    for_each(done.append, range(100), 4)
    assert sorted(done) == list(range(100))


def test_the_first_failure_is_raised_when_all_are_at_rest() -> None:
    begun, ended = Event(), Event()

    def work(item: int) -> None:
        if item == 0:
            begun.wait(5)
            raise OSError("no")
        begun.set()
        time.sleep(0.1)
        ended.set()

    with pytest.raises(OSError, match="no"):
        for_each(work, range(2), 2)
    assert ended.is_set()


def test_no_further_item_is_begun_after_a_failure() -> None:
    begun: list[int] = []

    def work(item: int) -> None:
        begun.append(item)
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        for_each(work, range(1000), 3)
    assert len(begun) <= 3


def test_an_interrupted_caller_waits_for_its_helpers() -> None:
    # Of Python, as in a command: importing dask_jobqueue, as another test does, replaces it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    waiting, ended = Event(), Event()

    def work(_: int) -> None:
        if current_thread() is main_thread():
            waiting.wait(5)
            return
        waiting.set()
        time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)
        time.sleep(0.2)
        ended.set()

    try:
        with pytest.raises(KeyboardInterrupt):
            for_each(work, range(2), 2)
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.is_set()


def test_files_of_many_and_of_no_parts_are_written_whole(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    parts = [random.integers(0, 256, int(size), np.uint8) for size in random.integers(0, 99, 2000)]
    write_files(
        {tmp_path / "many": [b"", *parts], tmp_path / "none": [], tmp_path / "empty": [b""]}
    )
    assert (tmp_path / "many").read_bytes() == b"".join(part.tobytes() for part in parts)
    assert (tmp_path / "none").read_bytes() == (tmp_path / "empty").read_bytes() == b""
    assert len(list(tmp_path.iterdir())) == 3
