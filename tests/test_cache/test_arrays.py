from __future__ import annotations

from pathlib import Path

import pytest
import zarr

from cache import CacheCorrupt
from cache.arrays import stored_arrays
from cache.storage import LocalStorage
from tests.test_cache.factory import make_spec, write_store


@pytest.mark.parametrize(("codec", "inner_rows"), [("raw", 1), ("zstd", 4), ("blosc", 2)])
def test_every_array_is_described_as_zarr_sees_it(
    tmp_path: Path, codec: str, inner_rows: int
) -> None:
    spec = make_spec(22, shard_rows=8, codec=codec, inner_rows=inner_rows)
    store = write_store(tmp_path / "a.zarr", spec, chunks=[0, 2])
    found = {array.path: array for array in stored_arrays(LocalStorage(store))}
    group = zarr.open_group(store, mode="r")
    seen = {
        name: array
        for name, array in group.members(max_depth=None)
        if isinstance(array, zarr.Array)
    }
    assert found.keys() == seen.keys()
    for name, array in seen.items():
        assert found[name].shape == array.shape
        assert found[name].dtype == str(array.dtype)
        assert found[name].chunk_shape == (array.shards or array.chunks)
        assert found[name].inner_shape == array.chunks
        files = [path for path in (store / name).rglob("*") if path.is_file()]
        assert found[name].size_bytes == sum(path.stat().st_size for path in files)
    names = {"raw": "raw", "zstd": "zstd", "blosc": "blosc-lz4"}
    assert found["features/x4"].codec == names[codec]
    assert found["keypoints/gt"].codec == "raw"
    assert (found["features/x4"].num_objects, found["features/x4"].planned_objects) == (2, 3)
    assert (found["commit"].num_objects, found["commit"].planned_objects) == (2, 3)
    assert (found["index/split"].num_objects, found["index/split"].planned_objects) == (1, 1)


def test_arrays_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(8))
    (store / "features/x8").rename(store / "features/x16")
    paths = [array.path for array in stored_arrays(LocalStorage(store))]
    assert paths.index("features/x4") < paths.index("features/x16")
    assert paths[0].startswith("cameras/")


@pytest.mark.parametrize("content", ["{", "[]", '{"node_type": "array"}'])
def test_broken_metadata_are_named(tmp_path: Path, content: str) -> None:
    store = write_store(tmp_path / "a.zarr", make_spec(8))
    (store / "keypoints/gt/zarr.json").write_text(content)
    with pytest.raises(CacheCorrupt, match=r"keypoints/gt/zarr\.json does not describe an array"):
        stored_arrays(LocalStorage(store))
