from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from cache import CacheError, CacheMismatch, CacheReader, CacheWriteError, verify
from cache.derived.merge import merge
from tests.test_cache.factory import make_plan, make_spec, store_bytes, write_store

SPEC = make_spec(18)  # chunks 0 to 4, the last one shorter


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    return write_store(tmp_path / "whole.zarr", SPEC)


def flip_byte(path: Path, place: int = 10) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.unlink()  # a merged store may hold the same file under another name
    path.write_bytes(content)


def test_parts_of_several_machines_become_the_store_that_one_machine_would_have_written(
    tmp_path: Path, whole: Path
) -> None:
    a = write_store(tmp_path / "a.zarr", SPEC, [0, 3])
    b = write_store(tmp_path / "b.zarr", SPEC, [1, 2, 4])
    seen: list[tuple[int, int]] = []
    report = merge([a, b], tmp_path / "c.zarr", lambda done, of: seen.append((done, of)))
    assert report.ok
    assert report.copied == 5
    assert seen[-1] == (5, 5)
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(whole)
    assert verify(tmp_path / "c.zarr").ok


def test_files_on_one_disk_are_linked_and_repairing_one_store_leaves_the_other(
    tmp_path: Path,
) -> None:
    a = write_store(tmp_path / "a.zarr", SPEC)
    merge([a], tmp_path / "c.zarr")
    shard = "features/x4/c.2.0.0.0.0"
    assert (a / shard).samefile(tmp_path / "c.zarr" / shard)
    flip_byte(a / shard)
    assert verify(tmp_path / "c.zarr").ok


def test_files_on_another_disk_are_copied(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = os.link

    def refuse(source: Path, target: Path) -> None:
        if "whole.zarr" in str(source):  # zarr links its own metadata
            raise OSError(18, "Invalid cross-device link")
        linked(source, target)

    monkeypatch.setattr(os, "link", refuse)
    report = merge([whole], tmp_path / "c.zarr")
    assert report.ok
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(whole)
    assert not (whole / "status" / "c.0").samefile(tmp_path / "c.zarr" / "status" / "c.0")


def test_a_merge_goes_on_where_it_was_killed(tmp_path: Path, whole: Path) -> None:
    a = write_store(tmp_path / "a.zarr", SPEC, [0, 1])
    merge([a], tmp_path / "c.zarr")
    # Killed between the data of chunk 4 and its commit.
    shutil.copy(whole / "status" / "c.4", tmp_path / "c.zarr" / "status" / "c.4")
    report = merge([a, whole], tmp_path / "c.zarr")
    assert (report.copied, report.ok) == (3, True)
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(whole)


def test_missing_chunks_are_named_and_the_store_stays_incomplete(tmp_path: Path) -> None:
    a = write_store(tmp_path / "a.zarr", SPEC, [0, 3])
    report = merge([a], tmp_path / "c.zarr")
    assert report.missing == (1, 2, 4)
    assert not CacheReader(tmp_path / "c.zarr", allow_incomplete=True).complete


def test_a_chunk_with_two_contents_is_reported_and_left_out(tmp_path: Path) -> None:
    a = write_store(tmp_path / "a.zarr", SPEC)
    b = write_store(tmp_path / "b.zarr", SPEC)
    # A whole, intact chunk, but not the same one: that of other rows.
    shard = "features/x4/c.{}.0.0.0.0"
    shutil.copy(b / shard.format(1), b / shard.format(2))
    report = merge([a, b], tmp_path / "c.zarr")
    (conflict,) = report.conflicts
    assert (conflict.chunk, conflict.arrays) == (2, ("features/x4",))
    assert conflict.locations == (str(a), str(b))
    assert report.missing == (2,)


def test_a_damaged_chunk_is_taken_from_another_store_and_named(tmp_path: Path, whole: Path) -> None:
    bad = write_store(tmp_path / "a.zarr", SPEC, [0, 1, 2])
    flip_byte(bad / "features" / "x8" / "c.1.0.0.0.0")
    flip_byte(bad / "keypoints" / "gt" / "c.2.0.0.0")
    report = merge([bad, whole], tmp_path / "c.zarr")
    assert {(location, problem.chunk) for location, problem in report.damaged} == {
        (str(bad), 1),
        (str(bad), 2),
    }
    assert report.missing == ()
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(whole)


def test_a_chunk_that_is_damaged_everywhere_is_not_committed(tmp_path: Path) -> None:
    bad = write_store(tmp_path / "a.zarr", SPEC)
    flip_byte(bad / "features" / "x8" / "c.1.0.0.0.0")
    report = merge([bad], tmp_path / "c.zarr")
    assert report.missing == (1,)
    assert not report.ok


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ({"feature_identity": {"detector": {"weights": "cc33"}}}, "feature_identity.detector"),
        ({"content_identity": {"adapter": "other"}}, "content_identity.adapter"),
        ({"plan": make_plan(18, seed=1)}, "plan_hash"),
    ],
)
def test_stores_of_something_else_are_refused_by_name(
    tmp_path: Path, whole: Path, changes: dict[str, object], key: str
) -> None:
    other = write_store(tmp_path / "other.zarr", SPEC, [0], **changes)
    with pytest.raises(CacheMismatch, match=key):
        merge([whole, other], tmp_path / "c.zarr")
    assert not (tmp_path / "c.zarr").exists()
    write_store(tmp_path / "c.zarr", SPEC, [0], **changes)
    with pytest.raises(CacheMismatch, match=key):
        merge([whole], tmp_path / "c.zarr")


def test_a_store_is_not_merged_into_itself(whole: Path) -> None:
    with pytest.raises(CacheError, match="other than"):
        merge([whole], whole)


def test_a_full_disk_leaves_committed_chunks(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = os.link
    calls: list[object] = []

    def fill_up(source: Path, target: Path) -> None:
        calls.extend([target] * ("whole.zarr" in str(source)))
        if len(calls) > 14:
            raise OSError(28, "No space left on device")
        linked(source, target)

    monkeypatch.setattr(os, "link", fill_up)
    with pytest.raises(CacheWriteError, match="merge again"):
        merge([whole], tmp_path / "c.zarr")
    monkeypatch.undo()
    assert merge([whole], tmp_path / "c.zarr").ok
    assert store_bytes(tmp_path / "c.zarr") == store_bytes(whole)
