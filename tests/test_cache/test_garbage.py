from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from cache import CacheError, garbage
from cache.garbage import find_leftovers, remove_leftovers
from cache.storage.files import NO_LOCKS, _create_temporary, temporary_folder
from tests.test_cache.factory import make_chunk, make_spec, open_writer, store_bytes, write_store

SPEC = make_spec(18)
SHARD = "features/x4/c.{}.0.0.0.0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a store of chunks 0 and 2, and the files beside it."""
    write_store(tmp_path / "data" / "a.zarr", SPEC, [0, 2])
    (tmp_path / "data" / "a.request.json").write_text("{}")
    return tmp_path / "data"


def later(monkeypatch: pytest.MonkeyPatch, seconds: float = 2 * garbage.QUIET_S) -> None:
    now = time.time()
    monkeypatch.setattr(garbage.time, "time", lambda: now + seconds)


def everything(root: Path) -> dict[str, bytes]:
    return store_bytes(root)


def test_a_clean_folder_has_no_leftovers(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    later(monkeypatch)
    assert find_leftovers(root) == []


def test_what_a_killed_writer_left_is_found_and_removed(root: Path) -> None:
    before = everything(root)
    for place in (root / "a.zarr" / SHARD.format(1), root / "a.zarr" / "commit" / "c.1"):
        (place.parent / f".tmp-{place.name}-0123456789abcdef").write_bytes(b"half")
    (root / ".tmp-b.zarr-0123456789abcdef" / "labels").mkdir(parents=True)
    (root / ".tmp-b.zarr-0123456789abcdef" / "zarr.json").write_bytes(b"{}")
    found = find_leftovers(root)
    assert [leftover.kind for leftover in found] == ["unfinished"] * 3
    assert sum(leftover.size_bytes for leftover in found) == 10
    assert everything(root) != before  # finding removes nothing
    assert remove_leftovers(found) == found
    assert everything(root) == before
    assert find_leftovers(root) == []


def test_files_and_folders_of_a_living_writer_stay(root: Path) -> None:
    path, descriptor = _create_temporary(root / "a.zarr" / SHARD.format(1))
    with temporary_folder(root / "b.zarr") as folder, open(descriptor, "wb"):
        assert find_leftovers(root) == []
        assert path.exists()
        assert folder.exists()
    assert [leftover.path for leftover in find_leftovers(root)] == [path]


def test_a_writer_that_took_over_between_finding_and_removing_is_left_alone(root: Path) -> None:
    path = root / "a.zarr" / "status" / ".tmp-c.1-0123456789abcdef"
    path.write_bytes(b"half")
    found = find_leftovers(root)
    import fcntl

    with path.open("rb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        assert remove_leftovers(found) == []
        assert path.exists()


def test_chunk_files_without_a_commit_are_left_over_when_nobody_has_touched_them(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(root)
    (root / "a.zarr" / SHARD.format(1)).write_bytes(b"whole, but never committed")
    assert find_leftovers(root) == []  # its writer may be about to commit
    later(monkeypatch)
    (leftover,) = find_leftovers(root)
    assert (leftover.kind, leftover.path) == ("uncommitted", root / "a.zarr" / SHARD.format(1))
    remove_leftovers([leftover])
    assert everything(root) == before


def test_a_chunk_that_was_committed_between_finding_and_removing_stays(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.zarr" / SHARD.format(1)).write_bytes(b"whole, but not yet committed")
    later(monkeypatch)
    found = find_leftovers(root)
    assert found
    with open_writer(root / "a.zarr", SPEC) as writer:
        writer.write_chunk(1, make_chunk(SPEC, writer.chunk_rows(1)))
    before = everything(root)
    assert remove_leftovers(found) == []
    assert everything(root) == before


def test_files_about_a_store_that_is_gone_are_left_over(root: Path) -> None:
    (root / "gone.request.json").write_text("{}")
    (root / "gone.provenance.json").write_text("{}")
    assert [leftover.kind for leftover in find_leftovers(root)] == ["without a store"] * 2
    write_store(root / "gone.zarr", SPEC, [0])
    assert find_leftovers(root) == []


def test_nothing_else_is_ever_listed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("notes.txt", "a.zarr/notes.txt", "a.zarr/features/x4/c.99.0.0.0.0", "b.json"):
        (root / name).write_text("mine")
    foreign = root / "foreign.zarr" / "status"
    foreign.mkdir(parents=True)
    for name in ("c.0", ".tmp-c.1-0123456789abcdef"):
        (foreign / name).write_text("of another program")
    later(monkeypatch)
    assert find_leftovers(root) == []


def test_a_folder_that_is_not_there_is_an_error(root: Path) -> None:
    with pytest.raises(CacheError, match="no folder"):
        find_leftovers(root / "none")


@pytest.mark.parametrize("number", NO_LOCKS)
def test_a_disk_without_locks_is_written_and_loses_what_nobody_has_touched_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    write_store(tmp_path / "a.zarr", SPEC, [0, 2])
    left = tmp_path / "a.zarr" / "commit" / ".tmp-c.1-0123456789abcdef"
    left.write_bytes(b"half")
    with open_writer(tmp_path / "a.zarr", SPEC):
        assert left.exists()  # its writer may be alive: nobody can tell
    assert find_leftovers(tmp_path) == []
    later(monkeypatch)
    assert remove_leftovers(find_leftovers(tmp_path)) != []
    assert not left.exists()


def test_another_error_of_a_lock_is_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("fcntl.flock", fail)
    with pytest.raises(OSError, match="input/output error"):
        write_store(tmp_path / "a.zarr", SPEC, [0])
