"""What killed writers leave is swept by the next one; what living writers need is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cache import verify
from cache.storage.files import TEMPORARY_PREFIX, temporary_folder, write_files
from tests.test_cache.factory import make_spec, open_writer, store_bytes, write_store
from tests.test_reliability.crash_points import leftovers
from tests.test_reliability.damage import chunk_of
from tests.test_reliability.guards import GUARDS

SPEC = make_spec(4)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "fsync", lambda _: None)
    return write_store(tmp_path / "a.zarr", SPEC)


def leave_behind(store: Path) -> None:
    """What a kill leaves in every folder that is written to, and of a store half made."""
    for key in store_bytes(store):
        if chunk_of(key) is not None:
            (store / key).with_name(f"{TEMPORARY_PREFIX}c.0-0123").write_bytes(b"half")
    half = store.with_name(f"{TEMPORARY_PREFIX}{store.name}-4567")
    (half / "features").mkdir(parents=True)
    (half / "zarr.json").write_text("{")


def meet(store: Path) -> None:
    """Write a file and make a store while another writer opens the same store."""

    def parts() -> Iterator[bytes]:
        yield b"first"
        open_writer(store, SPEC)
        yield b"second"

    with temporary_folder(store) as living:
        write_files({store / "status" / "c.0": parts()})
        assert living.exists()


def test_leftovers_of_killed_writers_are_swept_by_the_next(store: Path) -> None:
    before = store_bytes(store)
    leave_behind(store)
    assert len(leftovers(store.parent)) == 8
    assert verify(store).ok  # nobody takes them for data before they are swept
    open_writer(store, SPEC)
    assert leftovers(store.parent) == []
    assert store_bytes(store) == before


def test_leftovers_that_nobody_sweeps_are_noticed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_behind(store)
    GUARDS["sweeping"](monkeypatch)
    open_writer(store, SPEC)
    assert len(leftovers(store.parent)) == 8


def test_files_of_living_writers_are_left_alone(store: Path) -> None:
    meet(store)
    assert (store / "status" / "c.0").read_bytes() == b"firstsecond"


def test_living_writers_without_locks_are_noticed(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    GUARDS["locks"](monkeypatch)
    with pytest.raises(FileNotFoundError):
        meet(store)


def test_every_guard_has_a_test_that_notices_when_it_is_missing() -> None:
    tests = "".join(
        path.read_text() for path in Path(__file__).parent.glob("test_*.py") if path.is_file()
    )
    assert [guard for guard in GUARDS if f'"{guard}"' not in tests] == []
