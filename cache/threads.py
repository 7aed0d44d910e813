"""Threads that read: a few for what lies in memory, more to wait for a disk or a network."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

MAX_THREADS = 64
QUEUE_DEPTH = 16
_COPYING_THREADS = 4


def copying_threads() -> int:
    """Threads that copy from memory: a few use up its bandwidth."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return min(_COPYING_THREADS, cores)


def share(work: Callable[[], None], threads: int) -> None:
    """Call `work` in up to so many threads at once, this one among them; raises what one raised.

    `work` takes pieces of something until none is left.
    """
    helpers = [pool().submit(work) for _ in range(min(threads, MAX_THREADS) - 1)]
    work()
    for helper in helpers:
        # One that has not begun has nothing left to do: never wait for a busy machine to start it.
        if not helper.cancel():
            helper.result()


def pool() -> ThreadPoolExecutor:
    """Threads of this process, started when needed; a forked child has none of its parent's."""
    return _pool(os.getpid())


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="posecache-read")
