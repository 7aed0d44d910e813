"""Threads that read: a few for what lies in memory, more to wait for a disk or a network."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import cache
from typing import TypeVar

Item = TypeVar("Item")

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


def for_each(work: Callable[[Item], None], items: Iterable[Item], threads: int) -> None:
    """Call `work` for every item in up to so many threads at once, this one among them.

    Returns when all calls have ended; raises what the first failing one raised, and begins no
    further ones after that.
    """
    remaining, failed = iter(list(items)), list[BaseException]()

    def take() -> None:
        for item in remaining:
            if failed:
                return
            try:
                work(item)
            except BaseException as error:  # must reach the caller, whichever thread it was in
                failed.append(error)

    helpers = [pool().submit(take) for _ in range(min(threads, MAX_THREADS) - 1)]
    try:
        take()
    finally:
        for helper in helpers:
            _settle(helper, failed)
    if failed:
        raise failed[0]


def _settle(helper: Future[None], failed: list[BaseException]) -> None:
    """Wait for its end, whatever signal arrives: it may hold what the caller cleans up next."""
    while not helper.cancel() and not helper.done():
        try:
            wait([helper])
        except BaseException as error:  # of a signal; told when all are at rest
            failed.append(error)


def pool() -> ThreadPoolExecutor:
    """Threads of this process, started when needed; a forked child has none of its parent's."""
    return _pool(os.getpid())


@cache
def _pool(process: int) -> ThreadPoolExecutor:  # noqa: ARG001
    return ThreadPoolExecutor(MAX_THREADS, thread_name_prefix="posecache-read")
