"""A disk that refuses at any step of a write: one error, nothing lost, the same call goes on.

A real full disk and a real read-only one are met by the real command in `test_command`; here every
call to the system fails once, which needs no rights.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from cache import CacheReader, CacheWriteError, verify
from tests.test_cache.factory import make_chunk, make_spec, open_writer, store_bytes, write_store
from tests.test_reliability.crash_points import leftovers
from tests.test_reliability.guards import GUARDS

SPEC = make_spec(8)
REFUSALS = [
    (13, "Permission denied"),
    (28, "No space left on device"),
    (30, "Read-only file system"),
    (122, "Disk quota exceeded"),
    (5, "Input/output error"),
]
CALLS = ("open", "writev", "fsync", "rename", "unlink")


def refuse(patch: pytest.MonkeyPatch, name: str, number: int, step: int) -> Callable[[], bool]:
    """Let the `step`-th call that changes the disk fail; returns whether it was reached."""
    call, steps, lock, reached = getattr(os, name), count(1), Lock(), list[bool]()

    def refusing(*arguments: Any, **keywords: Any) -> Any:
        # Reading is allowed on a disk that is full or read-only.
        if name != "open" or arguments[1] & os.O_CREAT:
            with lock:
                is_it = next(steps) == step
            if is_it:
                reached.append(True)
                raise OSError(number, os.strerror(number))
        return call(*arguments, **keywords)

    patch.setattr(os, name, refusing)
    return lambda: bool(reached)


def steps_of(
    action: Callable[[], object], name: str, number: int
) -> Iterator[BaseException | None]:
    """What becomes of an action whose n-th call is refused, for every n that it reaches."""
    for step in count(1):
        error: BaseException | None = None
        with pytest.MonkeyPatch.context() as patch:
            was_reached = refuse(patch, name, number, step)
            try:
                action()
            except OSError as refused:
                error = refused
        if not was_reached():
            return
        yield error


@pytest.fixture
def _no_sync(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.mark.usefixtures("_no_sync")
@pytest.mark.parametrize(
    ("name", "number", "reason"),
    [(name, *refusal) for name, refusal in zip(CALLS, REFUSALS, strict=True)],
)
def test_a_refused_chunk_is_one_error_and_is_written_by_the_next_call(
    tmp_path: Path, name: str, number: int, reason: str
) -> None:
    path = write_store(tmp_path / "a.zarr", SPEC)
    expected, data = store_bytes(path), make_chunk(SPEC, SPEC.chunk_rows(1))
    writer, num_steps = open_writer(path, SPEC), 0

    def write_again() -> None:
        writer.discard_chunk(1)
        writer.write_chunk(1, data)

    for error in steps_of(write_again, name, number):
        num_steps += 1
        assert isinstance(error, CacheWriteError)
        assert reason in str(error)
        assert "cannot write chunk 1 of" in str(error)
        assert f"its {2 - len(writer.missing_chunks())} committed chunks of 2 are safe" in str(
            error
        )
        assert verify(path).bad == ()
        assert leftovers(path) == [] or name == "unlink"
        CacheReader(path, allow_incomplete=True).read(range(4))
        writer.write_chunk(1, data)
        assert store_bytes(path) == expected
    assert num_steps >= 7


@pytest.mark.usefixtures("_no_sync")
@pytest.mark.parametrize(("number", "reason"), REFUSALS)
def test_a_store_that_cannot_be_made_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, reason: str
) -> None:
    expected = store_bytes(write_store(tmp_path / "calm.zarr", SPEC))
    path = tmp_path / "a.zarr"
    # The first folder is the one that the store lies in: it is there, and nobody minds.
    for name, step in (("mkdir", 2), ("fsync", 1), ("fsync", 60), ("rename", 1)):
        refuse(monkeypatch, name, number, step)
        with pytest.raises(CacheWriteError, match=rf"cannot write the store .*a\.zarr: {reason}"):
            open_writer(path, SPEC)
        assert not path.exists()
        assert leftovers(tmp_path) == []
    assert store_bytes(write_store(path, SPEC)) == expected


@pytest.mark.usefixtures("_no_sync")
def test_a_refusal_without_a_name_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_store(tmp_path / "a.zarr", SPEC, chunks=[0])
    GUARDS["named-write-errors"](monkeypatch)
    data = make_chunk(SPEC, SPEC.chunk_rows(1))
    writer = open_writer(path, SPEC)
    errors = list(steps_of(lambda: writer.write_chunk(1, data), "rename", 28))
    assert errors
    assert not any(isinstance(error, CacheWriteError) for error in errors)
