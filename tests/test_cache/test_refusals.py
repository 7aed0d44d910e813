"""What a user or a disk can get wrong: one clear error, nothing lost."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import (
    CacheError,
    CacheIncomplete,
    CacheMismatch,
    CacheMissing,
    CacheReader,
    CacheWriteError,
    ChunkData,
    SchemaMismatch,
    verify,
)
from tests.test_cache.factory import (
    FEATURE_IDENTITY,
    make_chunk,
    make_plan,
    make_spec,
    open_writer,
    store_bytes,
    write_store,
)

SPEC = make_spec(10)
X8 = np.zeros((4, 2, 3, 2, 8))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "a.zarr", SPEC)


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        (
            {
                "feature_identity": {
                    **FEATURE_IDENTITY,
                    "detector": {"weights": "cc33", "taps": ["x4", "x8"]},
                }
            },
            ['feature_identity.detector.weights: stored "aa11", asked "cc33"'],
        ),
        (
            {
                "content_identity": {"adapter": "toy", "annotations": "dd"},
                "plan": make_plan(10, seed=1),
            },
            ['content_identity.annotations: stored "bb22", asked "dd"', "plan_hash: stored"],
        ),
        (
            {"spec": make_spec(10, shard_rows=8, dtype="float32")},
            ['spec.dtype: stored "float16", asked "float32"', "spec.shard_rows: stored 4, asked 8"],
        ),
    ],
)
def test_another_identity_is_refused_naming_every_key(
    store: Path, changes: dict[str, Any], messages: list[str]
) -> None:
    before = store_bytes(store)
    with pytest.raises(CacheMismatch) as caught:
        open_writer(store, **{"spec": SPEC, **changes})
    for message in messages:
        assert message in str(caught.value)
    assert store_bytes(store) == before


def test_a_plan_of_another_length_than_the_spec_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="the spec plans 10 rows, the plan has 11"):
        open_writer(tmp_path / "a.zarr", SPEC, plan=make_plan(11))


def change_attributes(store: Path, change: Callable[[dict[str, Any]], object]) -> None:
    header = json.loads((store / "zarr.json").read_text())
    change(header["attributes"])
    (store / "zarr.json").write_text(json.dumps(header))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.update(format_version=2), "format version 2, this release reads version 1"),
        (lambda a: a.pop("format_version"), "format version None"),
        (lambda a: a.update(format="other"), "not a posecache store"),
        (lambda a: a.pop("plan_hash"), "lacks the attribute 'plan_hash'"),
        (lambda a: a["spec"].update(codec="lzma"), "not one of format 1"),
    ],
)
def test_other_formats_are_refused_by_reader_writer_and_verifier(
    store: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    change_attributes(store, change)
    for action in (CacheReader, verify, lambda path: open_writer(path, SPEC)):
        with pytest.raises(SchemaMismatch, match=message):
            action(store)


def test_a_foreign_folder_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"x")
    for action in (CacheReader, lambda path: open_writer(path, SPEC)):
        with pytest.raises(SchemaMismatch, match=r"no readable zarr\.json"):
            action(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_missing_store_is_also_a_missing_file(tmp_path: Path) -> None:
    for kind in (CacheMissing, FileNotFoundError, ValueError):
        with pytest.raises(kind, match="run 'posecache extract'"):
            CacheReader(tmp_path / "none.zarr")


def test_uncommitted_rows_are_refused_with_what_is_missing(tmp_path: Path) -> None:
    path = write_store(tmp_path / "a.zarr", SPEC, chunks=[1])
    with pytest.raises(CacheIncomplete, match=r"has 1 of 3 chunks \(missing 0, 2\)"):
        CacheReader(path)
    reader = CacheReader(path, allow_incomplete=True)
    assert not reader.complete
    assert np.flatnonzero(reader.committed()).tolist() == [4, 5, 6, 7]
    assert reader.read([4, 7])["x4"].shape == (2, 6, 5, 4)
    for ask in (
        lambda: reader.read([4, 8]),
        lambda: reader.status(),
        lambda: reader.keypoints("gt"),
        lambda: reader.affine(rows=[0]),
    ):
        with pytest.raises(CacheIncomplete, match="extract' again to resume"):
            ask()
    write_store(path, SPEC, chunks=[2])
    assert reader.read([4, 8])["x4"].shape == (2, 6, 5, 4)


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheWriteError, match=r"the store .*a\.zarr: .*another data_root"):
        open_writer(tmp_path / "file" / "a.zarr", SPEC)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write into read-only folders")
def test_a_read_only_folder_is_one_clear_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CacheWriteError, match="Permission denied"):
        open_writer(tmp_path / "a.zarr", SPEC)


def test_a_full_disk_loses_nothing_and_the_next_run_resumes(store: Path, tmp_path: Path) -> None:
    expected = store_bytes(store)
    path = write_store(tmp_path / "full.zarr", SPEC, chunks=[0])
    before = store_bytes(path)
    writer, data = open_writer(path, SPEC), make_chunk(SPEC, range(4, 8))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, limits[1]))
    try:
        with pytest.raises(
            CacheWriteError, match=r"chunk 1 .*File too large; its 1 committed .*safe"
        ):
            writer.write_chunk(1, data)
        with pytest.raises(OSError, match="free space"):
            open_writer(tmp_path / "other.zarr", SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert store_bytes(path) == before
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.zarr", "full.zarr"]
    assert store_bytes(write_store(path, SPEC)) == expected


def chunk_with(**changes: Any) -> ChunkData:
    return replace(make_chunk(SPEC, range(4)), **changes)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (chunk_with(features={}), r"features are \[\], the spec has \['x4', 'x8'\]"),
        (chunk_with(keypoints={"gt": np.zeros(1)}), r"keypoints are \['gt'\]"),
        (chunk_with(status=np.zeros(3, np.uint8)), r"status must have shape \(4,\), got \(3,\)"),
        (chunk_with(status=np.full(4, 9, np.uint8)), "a status is none of"),
        (chunk_with(crop_affine=np.full((4, 2, 2, 3), np.nan)), "crop/affine is not finite"),
        (
            chunk_with(features={"x4": np.full((4, 2, 6, 5, 4), 7e4), "x8": X8}),
            "features/x4 is not finite as float16.*store float32",
        ),
        (
            chunk_with(features={"x4": np.zeros((4, 2, 4, 6, 5)), "x8": X8}),
            r"features/x4 must have shape \(4, 2, 6, 5, 4\)",
        ),
    ],
)
def test_chunks_that_do_not_fit_are_refused_before_anything_is_written(
    tmp_path: Path, data: ChunkData, message: str
) -> None:
    writer = open_writer(tmp_path / "a.zarr", SPEC)
    before = store_bytes(Path(writer.location))
    with pytest.raises(CacheError, match=r"chunk 0 \(rows 0-3\) of a\.zarr: .*" + message):
        writer.write_chunk(0, data)
    assert store_bytes(Path(writer.location)) == before


def test_a_closed_writer_refuses_to_write(store: Path) -> None:
    with open_writer(store, SPEC) as writer:
        pass
    with pytest.raises(CacheError, match="is closed"):
        writer.write_chunk(0, make_chunk(SPEC, range(4)))
