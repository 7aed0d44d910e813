"""Batches made ahead of their use by background threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class Source(Protocol[T_co]):
    """Items by number; made in several threads at once, so none may depend on another."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> T_co: ...


class Prefetch(Generic[T]):
    """Iterates over `source` in order, while `threads` threads make the items to come.

    At most `depth` items are made, or being made, ahead of the one in use. An item belongs to the
    consumer until it asks for the next; it is then given to `recycle`. An exception of the source
    is raised where its item would have come. Leaving the `with` block ends the threads. `wait_s` is
    the time the consumer has spent waiting.
    """

    def __init__(
        self,
        source: Source[T],
        *,
        depth: int,
        threads: int = 1,
        recycle: Callable[[T], None] | None = None,
    ) -> None:
        self.wait_s = 0.0
        self._source = source
        self._depth = depth
        self._recycle = recycle
        self._begun = self._used = 0
        self._made: dict[int, tuple[T] | BaseException] = {}
        self._stopped = False
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._work, name=f"lift-prefetch-{number}", daemon=True)
            for number in range(threads)
        ]

    def __enter__(self) -> Prefetch[T]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._source)):
            item = self._take(number)
            yield item
            if self._recycle is not None:
                self._recycle(item)

    def _take(self, number: int) -> T:
        began = time.perf_counter()
        with self._changed:
            self._used = number
            self._changed.notify_all()
            self._changed.wait_for(lambda: number in self._made)
            made = self._made.pop(number)
        self.wait_s += time.perf_counter() - began
        if isinstance(made, BaseException):
            raise made
        return made[0]

    def _work(self) -> None:
        while (number := self._next()) is not None:
            made: tuple[T] | BaseException
            try:
                made = (self._source[number],)
            except BaseException as error:
                made = error
            with self._changed:
                self._made[number] = made
                self._changed.notify_all()

    def _next(self) -> int | None:
        """Number of the item to make, once there is room for it; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or self._begun <= self._used + self._depth)
            if self._stopped or self._begun == len(self._source):
                return None
            self._begun += 1
            return self._begun - 1
