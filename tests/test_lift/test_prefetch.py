from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from stages.lift.prefetch import Prefetch


def test_items_come_in_order_and_once() -> None:
    with Prefetch(range(50), depth=3) as ahead:
        assert list(ahead) == list(range(50))


def test_an_error_of_the_source_is_raised_where_its_item_would_have_come() -> None:
    def source() -> Iterator[int]:
        yield 1
        raise KeyError("row 7")

    seen = []
    with Prefetch(source(), depth=2) as ahead, pytest.raises(KeyError, match="row 7"):
        seen.extend(ahead)
    assert seen == [1] or seen == []


def test_the_thread_ends_when_the_consumer_leaves_early() -> None:
    def endless() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    with Prefetch(endless(), depth=2) as ahead:
        assert next(iter(ahead)) == 0
    assert not [t for t in threading.enumerate() if t.name == "lift-prefetch"]


def test_waiting_is_measured() -> None:
    gate = threading.Event()

    def slow() -> Iterator[int]:
        gate.wait(0.2)
        yield 1

    with Prefetch(slow(), depth=1) as ahead:
        assert list(ahead) == [1]
        assert ahead.wait_s > 0.1
