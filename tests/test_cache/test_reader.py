from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheError, CacheMismatch, CacheReader, get_skeleton
from tests.test_cache.factory import (
    CONTENT_IDENTITY,
    FEATURE_IDENTITY,
    LEVELS,
    array_rows,
    make_plan,
    make_spec,
    write_store,
)

SPEC = make_spec(30)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("stores") / "a.zarr", SPEC)


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = make_spec(7, shard_rows=2)
    plan = make_plan(7, num_cameras=1, seed=1)
    return write_store(
        tmp_path_factory.mktemp("stores") / "b.zarr", spec, plan=plan, content_identity={"b": 1}
    )


def expected_maps(name: str, rows: Any, view: int = 0, num_rows: int = 30) -> Any:
    return array_rows(SPEC, f"features/{name}", np.arange(num_rows))[np.asarray(rows), view]


def test_reader_describes_the_store(store: Path) -> None:
    reader = CacheReader(str(store))
    assert len(reader) == 30
    assert reader.complete
    assert reader.spec == SPEC
    assert reader.skeleton is reader.label_skeleton is get_skeleton("H36M17")
    assert reader.views == ("plain", "flipped")
    assert list(reader.levels.values()) == list(LEVELS)
    assert reader.feature_identity == FEATURE_IDENTITY
    assert reader.content_identity == CONTENT_IDENTITY
    assert reader.locations == (str(store),)


def test_rows_come_in_the_order_asked_with_repeats(store: Path) -> None:
    reader, rows = CacheReader(store), [29, 0, 7, 7, 3, 29]
    batch = reader.read(rows, view=1)
    assert list(batch) == ["x4", "x8"]
    for name, maps in batch.items():
        np.testing.assert_array_equal(maps, expected_maps(name, rows, 1))
    assert list(reader.read(rows, levels=["x8"])) == ["x8"]
    assert reader.read([])["x4"].shape == (0, 6, 5, 4)


def test_maps_are_copies_that_the_caller_may_change(store: Path) -> None:
    reader = CacheReader(store)
    reader.read([3])["x4"][:] = 0
    np.testing.assert_array_equal(reader.read([3])["x4"], expected_maps("x4", [3]))


def test_given_arrays_are_filled_and_returned(store: Path) -> None:
    reader = CacheReader(store)
    out = {level.name: np.empty((3, *level.map_shape), np.float16) for level in LEVELS}
    batch = reader.read([9, 1, 5], out=out)
    for name in out:
        assert batch[name] is out[name]
        np.testing.assert_array_equal(out[name], expected_maps(name, [9, 1, 5]))
    with pytest.raises(CacheError, match=r"out\['x4'\] must be C-contiguous float16"):
        reader.read([9, 1], out=out)


@pytest.mark.parametrize(
    ("rows", "view", "message"),
    [
        ([30], 0, "rows run from 30 to 30, the reader has 30"),
        ([-1], 0, "rows run from -1"),
        ([0.5], 0, "whole numbers, got float64"),
        ([True], 0, "whole numbers, got bool"),
        ([[1]], 0, r"shape \(1, 1\)"),
        ([1], 2, r"view 2 of a store with the views \('plain', 'flipped'\)"),
        ([1, 2], [0, -1], "view"),
    ],
)
def test_rows_and_views_that_do_not_exist_are_refused(
    store: Path, rows: Any, view: Any, message: str
) -> None:
    with pytest.raises(IndexError, match=message):
        CacheReader(store).read(rows, view=view)


def test_unknown_names_are_refused_with_the_known_ones(store: Path) -> None:
    reader = CacheReader(store)
    with pytest.raises(CacheError, match="no level .x2., there are x4, x8"):
        reader.read([0], levels=["x2"])
    with pytest.raises(CacheError, match="no keypoints 'cpn', there are detector, gt"):
        reader.keypoints("cpn")
    with pytest.raises(CacheError, match="no label 'visible'"):
        reader.labels("visible")
    with pytest.raises(CacheError, match="no index column 'age', there are split"):
        reader.index("age")
    with pytest.raises(IndexError, match="view 2"):
        reader.keypoints("gt", 2)


def test_a_pickled_reader_reads_the_same(store: Path) -> None:
    reader = pickle.loads(pickle.dumps(CacheReader(store, allow_incomplete=True)))
    np.testing.assert_array_equal(reader.read([4])["x8"], expected_maps("x8", [4]))


def test_open_files_stay_below_the_limit_and_close_with_the_reader(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.shard_files.MAX_OPEN_FILES", 3)
    before = len(os.listdir("/proc/self/fd"))
    reader = CacheReader(store)
    for row in (*range(0, 30, 4), 0):
        np.testing.assert_array_equal(reader.read([row])["x4"], expected_maps("x4", [row]))
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_read_what_one_thread_reads(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cache.shard_files.MAX_OPEN_FILES", 2)
    reader, wrong = CacheReader(store), []

    def read(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(20):
            rows = random.integers(0, 30, 8)
            if not np.array_equal(reader.read(rows)["x4"], expected_maps("x4", rows)):
                wrong.append(rows)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_joined_stores_number_their_rows_through(store: Path, second: Path) -> None:
    reader = CacheReader([store, second])
    rows = [31, 0, 36, 29, 30]
    np.testing.assert_array_equal(
        reader.read(rows)["x4"],
        np.concatenate([expected_maps("x4", np.arange(30)), expected_maps("x4", np.arange(7))])[
            rows
        ],
    )
    parts = CacheReader(store), CacheReader(second)
    assert len(reader) == 37
    for ask in (
        lambda r: r.keypoints("detector", 1),
        lambda r: r.affine(),
        lambda r: r.status(),
        lambda r: r.labels("joints_3d_mm"),
        lambda r: r.image_size(),
    ):
        np.testing.assert_array_equal(ask(reader), np.concatenate([ask(part) for part in parts]))
    np.testing.assert_array_equal(
        reader.status(rows=rows), np.concatenate([p.status() for p in parts])[rows]
    )
    assert reader.content_identity == {"joined": [CONTENT_IDENTITY, {"b": 1}]}


def test_joined_stores_share_words_but_neither_clips_nor_cameras(store: Path, second: Path) -> None:
    reader, parts = CacheReader([store, second]), (CacheReader(store), CacheReader(second))
    for name in ("split", "subject", "action", "item"):
        assert reader.index(name).words() == [w for p in parts for w in p.index(name).words()]
    frames = [part.index("frame").codes for part in parts]
    np.testing.assert_array_equal(reader.index("frame").codes, np.concatenate(frames))
    assert reader.index("clip").words()[29:31] == ["0/clip 5", "1/clip 0"]
    cameras = reader.cameras()
    assert len(cameras) == 3
    assert cameras[reader.index("camera").codes[30]].name == "camera 0"
    assert reader.index("camera").codes[30] == 2


def test_stores_that_do_not_fit_are_not_joined(store: Path, tmp_path: Path) -> None:
    other = write_store(
        tmp_path / "c.zarr",
        make_spec(4, dtype="float32"),
        feature_identity={**FEATURE_IDENTITY, "crop": 1.5},
    )
    with pytest.raises(CacheMismatch) as caught:
        CacheReader([store, other])
    assert "feature_identity.crop: stored 1.25, asked 1.5" in str(caught.value)
    assert 'spec.dtype: stored "float16", asked "float32"' in str(caught.value)
    with pytest.raises(CacheError, match="one store or several different ones"):
        CacheReader([store, store])
