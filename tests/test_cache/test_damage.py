"""Planted faults: whatever is changed in a store must be found and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import CacheCorrupt, CacheReader, verify
from cache.maps.shards import _crc, all_finite, shard_parts
from cache.schema import map_bytes
from tests.test_cache.factory import LEVELS, make_spec, write_store

SPEC = make_spec(10)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return write_store(tmp_path / "a.zarr", SPEC)


def flip(file: Path, position: int, bit: int = 3) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


def test_a_flipped_bit_in_any_byte_of_a_shard_is_found(store: Path) -> None:
    file = store / "features" / "x8" / "c.1.0.0.0.0"
    size = file.stat().st_size
    for position in range(0, size, 5):
        flip(file, position, bit=position % 8)
        reader, both = CacheReader(store), np.repeat(np.arange(10), 2)
        with pytest.raises(CacheCorrupt, match=r"chunk 1 of x8 is damaged, rows [4-7]"):
            reader.read(both, levels=["x8"], view=[0, 1] * 10)
        flip(file, position, bit=position % 8)
    CacheReader(store).read(range(10))


def test_the_message_names_the_row_and_view_and_other_rows_stay_readable(store: Path) -> None:
    step = map_bytes(LEVELS[0], "float16") + 4
    flip(store / "features" / "x4" / "c.1.0.0.0.0", step * 3 + 17)
    reader = CacheReader(store)
    with pytest.raises(CacheCorrupt, match=r"chunk 1 of x4 is damaged, rows 5-5: the flipped view"):
        reader.read([5], view=1)
    reader.read([5], view=0)
    reader.read([4, 6, 7], view=1)


def test_a_row_is_checked_once_per_file(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[int] = []
    monkeypatch.setattr(
        "cache.maps.local.checksum_fits", lambda data, _: bool(checks.append(data.size)) or True
    )
    reader = CacheReader(store)
    for _ in range(3):
        reader.read([1, 1, 2], levels=["x4"])
    assert len(checks) == 2


@pytest.mark.parametrize("kept", [0, 1, 50, -1, -300])
def test_a_truncated_shard_is_refused_when_it_is_opened(store: Path, kept: int) -> None:
    file = store / "features" / "x4" / "c.0.0.0.0.0"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CacheCorrupt, match="chunk 0 of x4 is damaged, rows 0-3"):
        CacheReader(store).read([0])
    assert {(problem.chunk, problem.array) for problem in verify(store).bad} == {(0, "features/x4")}


def test_a_lost_file_of_a_committed_chunk_is_named(store: Path) -> None:
    (store / "features" / "x8" / "c.2.0.0.0.0").unlink()
    (store / "status" / "c.0").unlink()
    with pytest.raises(CacheCorrupt, match=r"chunk 2 of x8 .* No such file"):
        CacheReader(store).read([9])
    with pytest.raises(CacheCorrupt, match=r"chunk 0 of status .* No such file"):
        CacheReader(store).status()
    assert [(p.chunk, p.array) for p in verify(store).bad] == [(0, "status"), (2, "features/x8")]


@pytest.mark.parametrize("name", ["keypoints/detector", "keypoints/gt", "crop/affine", "status"])
def test_a_flipped_bit_beside_the_features_is_found(store: Path, name: str) -> None:
    (file,) = (store / name).glob("c.1*")
    flip(file, 2)
    (problem,) = verify(store).bad
    assert (problem.chunk, problem.array, problem.rows) == (1, name, (4, 7))
    assert problem.reason == "checksum mismatch"
    with pytest.raises(CacheCorrupt, match=f"chunk 1 of {name} is damaged"):
        CacheReader(store)._rows_of(name, None)


@pytest.mark.parametrize("name", ["labels/joints_3d_mm", "labels/valid", "index/clip", "cameras/K"])
def test_a_flipped_bit_in_the_plan_is_found(store: Path, name: str) -> None:
    (file,) = (store / name).glob("c.*")
    flip(file, 5)
    (problem,) = verify(store).bad
    assert problem.chunk is None
    assert name in problem.reason


def test_an_exchanged_plan_is_found(store: Path) -> None:
    valid: Any = zarr.open_group(str(store), mode="r+")["labels/valid"]
    valid[3, 4] = not valid[3, 4]
    (problem,) = verify(store).bad
    assert problem.reason == "the plan is not the one that was written"


def test_numbers_and_codes_that_no_writer_lets_pass_are_found(store: Path) -> None:
    group: Any = zarr.open_group(str(store), mode="r+")
    group["features/x4"][6, 1, 0, 0, 0] = np.nan
    group["crop/affine"][1, 0, 0, 0] = np.inf
    group["status"][9] = 77
    found = {(p.chunk, p.array, p.rows, p.reason) for p in verify(store).bad}
    assert found == {
        (1, "features/x4", (6, 6), "the flipped view has numbers that are not finite"),
        (0, "crop/affine", (0, 3), "numbers are not finite"),
        (2, "status", (8, 9), "status 77 is not defined"),
    }


def test_verify_counts_bad_frames_without_calling_them_damage(tmp_path: Path) -> None:
    path = write_store(tmp_path / "a.zarr", make_spec(25), chunks=[0, 1, 2, 5])
    seen: list[tuple[int, int]] = []
    report = verify(path, lambda done, todo: seen.append((done, todo)))
    assert report.bad == ()
    assert report.missing_chunks == (3, 4, 6)
    assert not report.ok
    assert report.invalid_by_reason == {"MISSING": 2}
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert verify(write_store(path, make_spec(25))).ok


def test_a_shard_index_that_points_elsewhere_is_refused(store: Path) -> None:
    def shifted(features: Any, shard_rows: int) -> bytes:
        # An intact checksum over a wrong index: only the bounds can catch it.
        *body, index, _ = shard_parts(features, shard_rows)
        entries = np.frombuffer(bytes(index), dtype="<u8").copy()
        entries[0] += 10**6
        return b"".join([*map(bytes, body), entries.tobytes(), _crc(entries.tobytes())])

    values: Any = zarr.open_group(str(store), mode="r")["features/x4"]
    file = store / "features" / "x4" / "c.0.0.0.0.0"
    file.write_bytes(shifted(values[:4], 4))
    with pytest.raises(CacheCorrupt, match="points outside the file"):
        CacheReader(store).read([1])


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("size", [1, 3, 4, 8, 17])
def test_finite_scan_equals_numpy(dtype: str, size: int) -> None:
    random = np.random.default_rng(0)
    edges = [0.0, -0.0, 1.0, -1.0, np.finfo(dtype).max, np.finfo(dtype).min, np.finfo(dtype).tiny]
    for bad in ([], [np.nan], [np.inf], [-np.inf], [-np.nan]):
        for _ in range(10):
            values = random.choice(edges, size).astype(dtype)
            values[random.integers(size)] = (bad or values)[0]
            assert all_finite(values.view(np.uint8), values.itemsize) == np.isfinite(values).all()
