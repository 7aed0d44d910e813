from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from stages.lift.feed.prefetch import Prefetch


class Made:
    """Items that a function makes, and the numbers that were asked for."""

    def __init__(self, count: int, make: Callable[[int], int] = lambda index: index) -> None:
        self.count, self.make = count, make
        self.begun: list[int] = []

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        self.begun.append(index)
        return self.make(index)


def uneven(index: int) -> int:
    time.sleep(0.004 * (index % 3 == 0))
    return index


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("depth", [1, 3, 50])
def test_items_come_in_order_and_once(threads: int, depth: int) -> None:
    source = Made(40, uneven)
    with Prefetch(source, depth=depth, threads=threads) as ahead:
        assert list(ahead) == list(range(40))
    assert sorted(source.begun) == list(range(40))


def test_no_more_than_the_depth_is_begun_ahead_of_the_item_in_use() -> None:
    source = Made(50)
    with Prefetch(source, depth=3, threads=4) as ahead:
        for item in ahead:
            time.sleep(0.002)
            assert max(source.begun) <= item + 3
    assert len(source.begun) == 50


def test_items_are_made_at_the_same_time_by_several_threads() -> None:
    meeting = threading.Barrier(3, timeout=5)

    def meet(index: int) -> int:
        meeting.wait()
        return index

    with Prefetch(Made(3, meet), depth=3, threads=3) as ahead:
        assert list(ahead) == [0, 1, 2]


def test_an_item_is_recycled_only_when_the_next_is_asked_for() -> None:
    recycled: list[int] = []
    with Prefetch(Made(6), depth=4, threads=2, recycle=recycled.append) as ahead:
        for item in ahead:
            assert recycled == list(range(item))
    assert recycled == list(range(6))


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_the_source_is_raised_where_its_item_would_have_come(threads: int) -> None:
    def fail(index: int) -> int:
        if index == 2:
            raise KeyError("row 7")
        return uneven(index)

    with Prefetch(Made(9, fail), depth=4, threads=threads) as ahead:
        items = iter(ahead)
        seen = [next(items), next(items)]
        with pytest.raises(KeyError, match="row 7"):
            next(items)
    assert seen == [0, 1]


def test_the_threads_end_when_the_consumer_leaves_early() -> None:
    with Prefetch(Made(10_000), depth=2, threads=3) as ahead:
        assert next(iter(ahead)) == 0
    assert not [t for t in threading.enumerate() if t.name.startswith("lift-prefetch")]


def test_waiting_is_measured() -> None:
    def slow(index: int) -> int:
        time.sleep(0.1)
        return index

    with Prefetch(Made(2, slow), depth=1) as ahead:
        assert list(ahead) == [0, 1]
        assert ahead.wait_s > 0.15
    with Prefetch(Made(5), depth=4) as ahead:
        for _ in ahead:
            time.sleep(0.05)
        assert ahead.wait_s < 0.15
