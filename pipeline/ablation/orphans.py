"""Worker processes that do not outlive the command that started them, nor speak of Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process


@contextmanager
def deaf_to_ctrl_c() -> Iterator[None]:
    """Processes that are started in this context do not hear Ctrl-C until they want to.

    A terminal sends it to all processes of a command, and one that is still importing would answer
    with a trace.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def end_with_parent() -> None:
    """Ends this process soon after its parent has, however that ended; for pools of processes.

    On Ctrl-C it ends at once and says nothing: the parent does.

    A worker would otherwise finish the run that it is at, hold its directory, and be in the way of
    the same command given again. Runs are resumable at any moment.
    """
    parent = parent_process()
    if parent is None:
        return
    signal.signal(signal.SIGINT, lambda number, _frame: os._exit(128 + number))

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
