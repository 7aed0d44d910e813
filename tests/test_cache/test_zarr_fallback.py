"""Stores that are not read row by row from files: compressed ones, and objects."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache import CacheCorrupt, CacheIncomplete, CacheReader
from cache.maps.blocks import _RecentBlocks, rows_of_bytes
from cache.maps.shard_blocks import ShardBlocks
from cache.storage import LocalStorage
from tests.test_cache.factory import LEVELS, array_rows, make_spec, write_store

NUM_ROWS = 30
COMPRESSED = [("zstd", 1), ("zstd", 4), ("blosc", 2)]


class Objects(LocalStorage):
    """Objects that nobody can map; counts what is asked for."""

    folder: Any = None

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.requests: Counter[str | int] = Counter()

    def tail(self, key: str, num_bytes: int) -> tuple[bytes, int]:
        self.requests["tail"] += 1
        return super().tail(key, num_bytes)

    def read_range(self, key: str, start: int, stop: int) -> bytes:
        self.requests[stop - start] += 1
        return super().read_range(key, start, stop)

    def zarr_store(self, *, read_only: bool = True) -> Any:
        return zarr.storage.LocalStore(self.location, read_only=read_only)


@pytest.fixture(scope="module", params=[("raw", 1), *COMPRESSED], ids=str)
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    codec, inner_rows = request.param
    folder = tmp_path_factory.mktemp("stores") / f"{codec}.zarr"
    return write_store(folder, make_spec(NUM_ROWS, codec=codec, inner_rows=inner_rows))


def expected(name: str, rows: Any, views: Any) -> Any:
    everything = array_rows(make_spec(NUM_ROWS), f"features/{name}", range(NUM_ROWS))
    return everything[np.asarray(rows), np.asarray(views)]


def opened(store: Path, way: str) -> CacheReader:
    return CacheReader([Objects(store)] if way == "objects" else store)  # type: ignore[list-item]


@pytest.mark.parametrize("way", ["folder", "objects"])
@pytest.mark.parametrize("view", [0, 1, "mixed"])
def test_every_way_of_reading_gives_the_same_values(store: Path, way: str, view: Any) -> None:
    reader, random = opened(store, way), np.random.default_rng(0)
    for size in (1, 7, 64):
        rows = random.integers(0, NUM_ROWS, size)
        views = random.integers(0, 2, size) if view == "mixed" else view
        out = {level.name: np.empty((size, *level.map_shape), np.float16) for level in LEVELS}
        for batch in (reader.read(rows, view=views), reader.read(rows, view=views, out=out)):
            for name, maps in batch.items():
                np.testing.assert_array_equal(maps, expected(name, rows, views))
    assert list(reader.read([3], levels=["x8"])) == ["x8"]
    assert reader.read([])["x4"].shape == (0, 6, 5, 4)


@pytest.mark.parametrize("pipeline", ["zarr", "zarrs"])
def test_zarr_reads_the_same(store: Path, pipeline: str) -> None:
    settings = {}
    if pipeline == "zarrs":
        pytest.importorskip("zarrs", reason="zarrs is not installed")
        settings["codec_pipeline.path"] = "zarrs.ZarrsCodecPipeline"
    rows = np.random.default_rng(1).permutation(NUM_ROWS)
    with zarr.config.set(settings):
        for name, maps in CacheReader(store).read(rows, view=1).items():
            array: Any = zarr.open_group(str(store), mode="r")[f"features/{name}"]
            assert array[:, 1][rows].tobytes() == maps.tobytes()


@pytest.mark.parametrize("way", ["folder", "objects"])
def test_what_zarr_itself_wrote_is_read(store: Path, tmp_path: Path, way: str) -> None:
    folder = tmp_path / store.name
    folder.symlink_to(store)
    values = np.random.default_rng(2).normal(size=(4, 2, 6, 5, 4)).astype(np.float16)
    array: Any = zarr.open_group(str(store), mode="r+")["features/x4"]
    before = array[8:12]
    array[8:12] = values
    try:
        read = opened(folder, way).read([9, 11], levels=["x4"], view=1)["x4"]
    finally:
        array[8:12] = before
    np.testing.assert_array_equal(read, values[[1, 3], 1])


def test_the_speed_of_an_order_is_told(store: Path) -> None:
    spec = CacheReader(store).spec
    assert opened(store, "folder").block_rows == spec.inner_rows
    # The maps of these tests are so small that a request is worth a whole shard.
    assert opened(store, "objects").block_rows == spec.shard_rows


def test_blocks_on_object_stores_are_worth_a_request() -> None:
    spec = make_spec(1000, shard_rows=64)
    row_bytes = 2 * 6 * 5 * 4 * 2
    assert [rows_of_bytes(spec, size) for size in (1, row_bytes * 8, row_bytes * 9, 10**9)] == [
        1,
        8,
        16,
        64,
    ]


@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_a_block_is_read_once_and_kept_for_the_next_batch(
    tmp_path: Path, codec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = make_spec(NUM_ROWS, codec=codec, inner_rows=1 if codec == "raw" else 4)
    reader = opened(write_store(tmp_path / "a.zarr", spec), "objects")
    fetched: list[tuple[int, range]] = []
    fetch = ShardBlocks.fetch

    def counted(self: Any, level: int, rows: range, views: range) -> Any:
        fetched.append((level, rows))
        return fetch(self, level, rows, views)

    monkeypatch.setattr(ShardBlocks, "fetch", counted)
    for rows in ([5, 4, 7], [6, 4]):
        reader.read(rows, levels=["x4"])
    assert fetched == [(0, range(4, 8))]


def test_a_lone_row_of_a_raw_object_costs_one_request_and_the_index_once(tmp_path: Path) -> None:
    storage = Objects(write_store(tmp_path / "a.zarr", make_spec(NUM_ROWS)))
    blocks = ShardBlocks(storage, make_spec(NUM_ROWS))
    for row in (9, 10, 8):
        blocks.fetch(0, range(row, row + 1), range(1, 2))
    assert storage.requests == {"tail": 1, 6 * 5 * 4 * 2 + 4: 3}


def test_recent_blocks_stay_within_their_size() -> None:
    blocks = _RecentBlocks(100)
    for number in range(5):
        blocks.put((0, number, 0), np.full(40, number, np.uint8))
        blocks.put((0, number, 0), np.full(40, number, np.uint8))
        blocks.get((0, 0, 0))
    kept = [number for number in range(5) if blocks.get((0, number, 0)) is not None]
    assert kept == [0, 4]


@pytest.mark.parametrize("way", ["folder", "objects"])
@pytest.mark.parametrize(("codec", "inner_rows"), [("raw", 1), *COMPRESSED])
def test_a_flipped_bit_in_any_byte_is_found_and_named(
    tmp_path: Path, codec: str, inner_rows: int, way: str
) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(8, codec=codec, inner_rows=inner_rows))
    file = store / "features" / "x8" / "c.1.0.0.0.0"
    intact = file.read_bytes()
    rows, views = np.repeat(np.arange(8), 2), [0, 1] * 8
    for position in range(0, len(intact), 23):
        damaged = bytearray(intact)
        damaged[position] ^= 1 << position % 8
        file.write_bytes(damaged)
        with pytest.raises(CacheCorrupt, match=r"chunk 1 of x8 is damaged, rows [4-7]"):
            opened(store, way).read(rows, levels=["x8"], view=views)
        opened(store, way).read(rows, levels=["x4"], view=views)
    file.write_bytes(intact)
    opened(store, way).read(rows, view=views)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


@pytest.mark.parametrize("damage", [Path.unlink, _cut], ids=["lost", "cut"])
@pytest.mark.parametrize("way", ["folder", "objects"])
@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_a_lost_or_cut_object_is_not_read_as_zeros(
    tmp_path: Path, codec: str, way: str, damage: Callable[[Path], None]
) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(8, codec=codec))
    damage(store / "features" / "x8" / "c.1.0.0.0.0")
    with pytest.raises(CacheCorrupt, match="chunk 1 of x8 is damaged"):
        opened(store, way).read([5])


def test_uncommitted_rows_are_refused(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(8, codec="zstd"), chunks=[0])
    reader = CacheReader(store, allow_incomplete=True)
    reader.read([3])
    with pytest.raises(CacheIncomplete, match=r"missing 1"):
        reader.read([3, 4])


def test_stores_of_different_codecs_are_joined(tmp_path: Path) -> None:
    paths = [
        write_store(
            tmp_path / f"{codec}.zarr",
            make_spec(8, codec=codec, inner_rows=rows),
            content_identity={"codec": codec},
        )
        for codec, rows in (("raw", 1), ("zstd", 2), ("blosc", 4))
    ]
    reader = pickle.loads(pickle.dumps(CacheReader(paths)))
    rows = np.random.default_rng(3).permutation(24)
    np.testing.assert_array_equal(reader.read(rows)["x8"], expected("x8", rows % 8, 0))
    assert reader.block_rows == 4
