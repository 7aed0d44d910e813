from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache import (
    CacheCorrupt,
    CacheIncomplete,
    CacheMismatch,
    CacheReader,
    CacheWriter,
    ChunkData,
    verify,
)
from cache.derived.chunk_content import difference
from cache.derived.recode import recode
from cache.part import StorePart
from cache.storage import LocalStorage
from tests.test_cache.factory import (
    array_rows,
    make_chunk,
    make_spec,
    store_bytes,
    write_store,
)
from tests.test_cache.test_recode import SPEC, write_mixed


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_mixed(tmp_path / "a.zarr")


def flip_bit(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_an_unfinished_source_is_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr", SPEC, chunks=[0, 2])
    with pytest.raises(CacheIncomplete, match="missing 1, 3"):
        recode(store, tmp_path / "b.zarr", codec="zstd")
    assert not (tmp_path / "b.zarr").exists()


def test_a_damaged_source_is_named_and_leaves_the_target_unfinished(
    tmp_path: Path, store: Path
) -> None:
    flip_bit(store / "features/x8/c.2.0.0.0.0", 40)
    with pytest.raises(CacheCorrupt, match=r"a\.zarr.*chunk 2"):
        recode(store, tmp_path / "b.zarr", codec="zstd")
    with pytest.raises(CacheIncomplete):
        CacheReader(tmp_path / "b.zarr")


def test_another_store_at_the_target_is_refused_and_kept(tmp_path: Path, store: Path) -> None:
    other = write_store(tmp_path / "b.zarr", make_spec(8))
    before = store_bytes(other)
    with pytest.raises(CacheMismatch):
        recode(store, other, dtype="uint8")
    assert store_bytes(other) == before


def test_damage_in_what_an_earlier_run_has_written_is_mended(tmp_path: Path, store: Path) -> None:
    target = tmp_path / "b.zarr"
    recode(store, target, codec="zstd")
    whole = store_bytes(target)
    flip_bit(target / "features/x4/c.1.0.0.0.0", 9)
    assert recode(store, target, codec="zstd").chunks_written == 1
    assert store_bytes(target) == whole
    assert recode(store, target, codec="zstd").chunks_written == 0


def test_wrong_values_with_right_checksums_are_found_and_mended(
    tmp_path: Path, store: Path
) -> None:
    target = tmp_path / "b.zarr"
    recode(store, target, shard_rows=8)
    whole = store_bytes(target)
    keypoints = zarr.open_group(target)["keypoints/detector"]
    keypoints[9, 0, 0, 0] = 12345.0  # type: ignore[index]
    assert verify(target).ok
    assert store_bytes(target) != whole
    assert recode(store, target, shard_rows=8).chunks_written == 1
    assert store_bytes(target) == whole


def test_a_disk_that_keeps_other_bytes_is_found(
    tmp_path: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = CacheWriter.write_chunk

    def write_other(writer: CacheWriter, chunk: int, data: ChunkData) -> bool:
        changed = {name: maps.copy() for name, maps in data.features.items()}
        changed["x8"][0, 0, 0, 0, 0] += 1
        return write(writer, chunk, replace(data, features=changed) if chunk == 3 else data)

    monkeypatch.setattr(CacheWriter, "write_chunk", write_other)
    with pytest.raises(CacheCorrupt, match=r"chunk 3 \(rows 12-15\) does not read back"):
        recode(store, tmp_path / "b.zarr", codec="zstd")


def test_scales_that_are_not_those_of_the_header_are_found(tmp_path: Path, store: Path) -> None:
    target = tmp_path / "b.zarr"
    recode(store, target, dtype="uint8")
    path = target / "features/x8/zarr.json"
    node = json.loads(path.read_text())
    node["attributes"]["scale"][0] *= 2
    path.write_text(json.dumps(node))
    with pytest.raises(CacheCorrupt):
        recode(store, target, dtype="uint8")


@pytest.mark.parametrize("fault", ["keypoints/gt", "crop/affine", "status", "features/x4"])
def test_a_chunk_that_differs_anywhere_is_told_apart(store: Path, fault: str) -> None:
    rows = range(4, 8)
    content = make_chunk(SPEC, rows)
    meant = replace(
        content,
        features={
            **content.features,
            "x8": np.abs(content.features["x8"]) * np.array([1, 0, *[1] * 6], dtype=np.float16),
        },
    )
    part = StorePart(LocalStorage(store))
    assert difference(part, rows, meant) is None
    array = {
        "keypoints/gt": meant.keypoints["gt"],
        "crop/affine": meant.crop_affine,
        "status": meant.status,
        "features/x4": meant.features["x4"],
    }[fault]
    np.testing.assert_array_equal(array, array_rows(SPEC, fault, rows))
    array.reshape(-1)[-1] += 1
    assert difference(part, rows, meant) == f"{fault} has other numbers"


_RECODE = """
import sys
from cache.derived.recode import recode
print("begun", flush=True)
recode(sys.argv[1], sys.argv[2], dtype="uint8", codec="zstd", shard_rows=1, workers=2)
"""


@pytest.mark.parametrize("commits", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_a_killed_recode_goes_on_and_ends_in_the_same_bytes(tmp_path: Path, commits: int) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(60, shard_rows=32))
    target, undisturbed = tmp_path / "b.zarr", tmp_path / "c.zarr"
    command = [sys.executable, "-c", _RECODE, str(store), str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]) as child:
        deadline = time.monotonic() + 60
        while len(list((target / "commit").glob("c.*"))) < commits:
            assert child.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline
        os.kill(child.pid, signal.SIGKILL)
    left = 60 - len(list((target / "commit").glob("c.*")))
    assert left > 0
    report = recode(store, target, dtype="uint8", codec="zstd", shard_rows=1)
    assert report.chunks_written >= left
    recode(store, undisturbed, dtype="uint8", codec="zstd", shard_rows=1)
    assert store_bytes(target) == store_bytes(undisturbed)
