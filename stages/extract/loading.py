"""Work done ahead of its use: threads where it waits for a disk, processes where it computes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_GRACE_S = 60

_task: Callable[[Any], Any] | None = None  # in a worker process: the task it was started for


class Loader(Generic[Item, Result]):
    """Calls `task` on items in background workers and yields results in order of the items.

    Results do not depend on the number or kind of workers. A worker process leaves when its parent
    dies.
    """

    def __init__(
        self,
        task: Callable[[Item], Result],
        *,
        workers: int,
        processes: bool,
        ahead: int | None = None,
    ) -> None:
        """Start the workers.

        Args:
            task: called with one item; with processes it is pickled once per worker.
            workers: 0 calls the task in the consuming thread.
            processes: worker processes instead of threads.
            ahead: results held ready; None means four per worker.
        """
        self._task = task
        self._ahead = ahead if ahead is not None else 4 * max(workers, 1)
        self._executor: Executor | None = None
        self._processes = processes
        if workers and processes:
            # Not fork: the parent runs OpenMP and loader threads, whose locks a forked child would
            # inherit. Not forkserver: a SIGTERM to all processes ends the server, and with it the
            # workers' link to their parent.
            context = multiprocessing.get_context("spawn")
            self._executor = ProcessPoolExecutor(
                workers, mp_context=context, initializer=_start_worker, initargs=(task,)
            )
        elif workers:
            self._executor = ThreadPoolExecutor(workers, thread_name_prefix="posecache-loader")

    def map(self, items: Iterable[Item]) -> Iterator[Result]:
        """Yield `task(item)` for each item, in order; a task's exception is raised at its place."""
        if self._executor is None:
            for item in items:
                yield self._task(item)
            return
        pending: deque[Future[Result]] = deque()
        source = iter(items)
        try:
            for item in source:
                pending.append(self._submit(self._executor, item))
                if len(pending) > self._ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def close(self) -> None:
        """Stop the workers; work that has not begun is dropped."""
        if self._executor is not None:
            self._executor.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _submit(self, executor: Executor, item: Item) -> Future[Result]:
        if self._processes:
            return executor.submit(_call, item)
        return executor.submit(self._task, item)


def _start_worker(task: Callable[[Any], Any]) -> None:
    global _task
    _task = task
    # Both may come to the whole process group. The parent then finishes the chunk that it has begun
    # and needs its pictures for it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S) and None)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # a killed parent cannot ask its workers to leave


def _call(item: Any) -> Any:
    assert _task is not None
    return _task(item)
