"""Worker processes that do not outlive the command that started them."""

from __future__ import annotations

import os
import threading
from multiprocessing import parent_process


def end_with_parent() -> None:
    """Ends this process soon after its parent has, however that ended; for pools of processes.

    A worker would otherwise finish the run that it is at, hold its directory, and be in the way of
    the same command given again. Runs are resumable at any moment.
    """
    parent = parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()
