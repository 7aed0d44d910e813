"""Batches made ahead of their use by one background thread."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")
_POLL_S = 0.1


class Prefetch(Generic[T]):
    """Iterates over `source` in a thread, at most `depth` items ahead, in order.

    An exception of the source is raised where its item would have come. Leaving the `with` block
    ends the thread. `wait_s` is the time the consumer has spent waiting.
    """

    def __init__(self, source: Iterable[T], *, depth: int) -> None:
        self.wait_s = 0.0
        self._source = source
        self._queue: queue.Queue[tuple[T] | BaseException | None] = queue.Queue(maxsize=depth)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._fill, name="lift-prefetch", daemon=True)

    def __enter__(self) -> Prefetch[T]:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def __iter__(self) -> Iterator[T]:
        while True:
            began = time.perf_counter()
            entry = self._queue.get()
            self.wait_s += time.perf_counter() - began
            if entry is None:
                return
            if isinstance(entry, BaseException):
                raise entry
            yield entry[0]

    def _fill(self) -> None:
        try:
            for item in self._source:
                if not self._put((item,)):
                    return
        except BaseException as error:
            self._put(error)
        else:
            self._put(None)

    def _put(self, entry: tuple[T] | BaseException | None) -> bool:
        while not self._stop.is_set():
            try:
                self._queue.put(entry, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
