from __future__ import annotations

import gc
import os
import pickle
import signal
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import (
    CacheCorrupt,
    CacheError,
    CacheMismatch,
    CacheReader,
    LevelSpec,
    get_skeleton,
)
from cache.maps import gather
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


@pytest.fixture(params=["kernel", "python"])
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Copies through `gather.c`, or without it."""
    if request.param == "python":
        monkeypatch.setattr("cache.maps.gather._kernel", lambda: None)
    elif gather._kernel() is None:
        pytest.skip("gather.c was not compiled")
    name: str = request.param
    return name


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
    with pytest.raises(CacheError, match=r"no level .x2., there are x4, x8"):
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


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("limit", [3, 512])
def test_any_batch_is_what_was_written(
    store: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.maps.shard_files.MAX_OPEN_FILES", limit)
    reader, random = CacheReader(store), np.random.default_rng(0)
    for size in (1, 2, 30, 200):
        rows, views = random.integers(0, 30, size), random.integers(0, 2, size)
        for name, maps in reader.read(rows, view=views).items():
            np.testing.assert_array_equal(maps, expected_maps(name, rows, views))


@pytest.mark.usefixtures("engine")
def test_rows_that_are_not_in_memory_are_read_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Large enough that a shard's index is not on the same pages, and mapped by no other reader.
    spec = make_spec(8, levels=(LevelSpec("x4", 16, 32, 32, 4),))
    store = write_store(tmp_path / "a.zarr", spec)
    cold: list[int] = []
    original = gather.gather

    def counted(*arguments: Any, **settings: Any) -> gather.Outcome:
        outcome = original(*arguments, **settings)
        cold.append(outcome.num_cold)
        return outcome

    monkeypatch.setattr("cache.maps.local.gather", counted)
    os.sync()  # dirty pages cannot be dropped
    for file in (store / "features").rglob("c.*"):
        descriptor = os.open(file, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)
    rows = np.random.default_rng(1).permutation(8)
    written = array_rows(spec, "features/x4", range(8))
    np.testing.assert_array_equal(CacheReader(store).read(rows)["x4"], written[rows, 0])
    if not any(cold):
        pytest.skip("this file system keeps its pages in memory")


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("limit", [1, 512])
def test_a_repaired_file_is_looked_at_anew(
    tmp_path: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.maps.shard_files.MAX_OPEN_FILES", limit)
    path = write_store(tmp_path / "a.zarr", SPEC)
    file = path / "features" / "x4" / "c.2.0.0.0.0"
    intact = file.read_bytes()
    file.write_bytes(bytes([intact[0] ^ 1]) + intact[1:])
    reader = CacheReader(path)
    for _ in range(2):
        with pytest.raises(CacheCorrupt, match="rows 8-8: the plain view fails its checksum"):
            reader.read([8, 0])
    (path / "repaired").write_bytes(intact)
    (path / "repaired").rename(file)
    np.testing.assert_array_equal(reader.read([8])["x4"], expected_maps("x4", [8]))


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("rewrite", [Path.unlink, lambda file: file.write_bytes(b"short")])
def test_a_file_that_goes_away_while_it_is_not_kept_open_is_named(
    tmp_path: Path, rewrite: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.maps.shard_files.MAX_OPEN_FILES", 1)
    path = write_store(tmp_path / "a.zarr", SPEC)
    reader = CacheReader(path)
    reader.read(range(30))
    rewrite(path / "features" / "x8" / "c.5.0.0.0.0")
    with pytest.raises(CacheCorrupt, match=r"chunk 5 of x8 is damaged, rows 20-23"):
        reader.read([21])
    reader.read([3])


def test_a_map_that_cannot_be_read_is_not_tried_for_ever(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(batch: gather.Batch, **_: Any) -> gather.Outcome:
        batch.states[:] = gather.FAILED
        return gather.Outcome(0, batch.states.size, 0)

    monkeypatch.setattr("cache.maps.local.gather", broken)
    with pytest.raises(CacheCorrupt, match="rows 3-3: the plain view cannot be read"):
        CacheReader(store).read([3])


@pytest.mark.usefixtures("engine")
def test_a_file_that_another_thread_learns_first_is_not_taken_for_replaced(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, original = CacheReader(store), gather.gather
    maps: Any = reader._parts[0].maps

    def another_thread_learns_next(*arguments: Any, **settings: Any) -> gather.Outcome:
        outcome = original(*arguments, **settings)
        maps._files.learn([(level, chunk) for level in (0, 1) for chunk in range(8)])
        return outcome

    monkeypatch.setattr("cache.maps.local.gather", another_thread_learns_next)
    monkeypatch.setattr(maps._files, "forget", lambda *_: pytest.fail("a good file was forgotten"))
    np.testing.assert_array_equal(reader.read(range(30))["x8"], expected_maps("x8", range(30)))


def test_open_files_stay_below_the_limit_and_close_with_the_reader(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.maps.shard_files.MAX_OPEN_FILES", 3)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    reader = CacheReader(store)
    for row in (*range(0, 30, 4), 0):
        np.testing.assert_array_equal(reader.read([row])["x4"], expected_maps("x4", [row]))
        assert len(os.listdir("/proc/self/fd")) <= before + 3
    del reader
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.usefixtures("engine")
@pytest.mark.parametrize("limit", [2, 512])
def test_threads_read_what_one_thread_reads(
    store: Path, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cache.maps.shard_files.MAX_OPEN_FILES", limit)
    # Batches of these small maps would be copied by one thread each.
    monkeypatch.setattr("cache.maps.gather._BYTES_PER_THREAD", 64)
    monkeypatch.setattr("cache.maps.gather._BLOCK_BYTES", 64)
    monkeypatch.setattr("cache.maps.local._CHECKED_BYTES_PER_THREAD", 64)
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


def test_a_forked_process_reads_with_threads_of_its_own(store: Path) -> None:
    reader = CacheReader(store)
    reader.read(range(30))
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        rows = np.arange(30)[::-1]
        same = np.array_equal(reader.read(rows)["x8"], expected_maps("x8", rows))
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0


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
