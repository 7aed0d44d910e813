"""What every kind of storage promises."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import zarr

from cache import CacheError
from cache.storage import Storage, is_url, open_storage
from cache.storage.files import TEMPORARY_PREFIX


@pytest.fixture(params=["folder", "objects"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    if request.param == "folder":
        return open_storage(tmp_path / "some" / "a.zarr")
    return open_storage(request.getfixturevalue("bucket") + "/some/a.zarr")


def make(storage: Storage) -> None:
    with storage.creating() as place:
        group = zarr.create_group(place, attributes={"made": "here"})
        group.create_array("part/numbers", shape=(5,), chunks=(2,), dtype="int16")[:] = np.arange(5)


def test_a_storage_is_empty_until_something_is_made(storage: Storage) -> None:
    assert not storage.exists()
    assert storage.name == "a.zarr"
    assert storage.names("commit") == []
    assert not storage.has("commit/c.0")
    assert storage.size_bytes() == 0
    for read in (storage.read, lambda key: storage.tail(key, 3)):
        with pytest.raises(FileNotFoundError):
            read("nothing")


def test_what_is_written_is_read(storage: Storage) -> None:
    make(storage)
    array = np.arange(7, dtype=np.uint8)
    storage.write({"part/a": [b"xy", array[2:4]], "part/b": [], "part/c": [b"0" * 6_000_000]})
    assert storage.read("part/a") == b"xy\x02\x03"
    assert storage.read_range("part/a", 1, 3) == b"y\x02"
    assert storage.tail("part/a", 3) == (b"y\x02\x03", 4)
    assert storage.tail("part/a", 30) == (b"xy\x02\x03", 4)
    assert storage.read("part/b") == b""
    assert len(storage.read("part/c")) == 6_000_000
    assert storage.has("part/a")
    assert set(storage.names("part")) >= {"a", "b", "c", "numbers"}
    assert storage.size_bytes("part/numbers") < 4_000
    assert storage.size_bytes() > 6_000_004
    storage.write({"part/a": [b"again"]})
    assert storage.read("part/a") == b"again"
    storage.delete("part/a")
    storage.delete("part/a")
    assert not storage.has("part/a")
    storage.sweep(["part"])
    assert "b" in storage.names("part")


def test_something_is_kept_beside_a_store(storage: Storage) -> None:
    make(storage)
    with pytest.raises(FileNotFoundError):
        storage.read_beside(".request.json")
    for content in (b"{}", b"[1]"):
        storage.write_beside(".request.json", content)
        assert storage.read_beside(".request.json") == content
    assert set(storage.names("")) == {"part", "zarr.json"}
    parent = open_storage(storage.location.removesuffix("/a.zarr"))
    assert set(parent.names("")) == {"a.zarr", "a.request.json"}


def test_a_store_appears_as_a_whole(storage: Storage) -> None:
    with storage.creating() as place:
        zarr.create_group(place).create_array("x", shape=(1,), dtype="u1")[:] = 3
        assert not storage.exists()
    assert storage.exists()
    assert set(storage.names("")) == {"x", "zarr.json"}
    group = zarr.open_group(storage.zarr_store(), mode="r")
    assert group["x"][0] == 3  # type: ignore[index]


def test_a_store_that_cannot_be_made_leaves_nothing(storage: Storage) -> None:
    def fail() -> None:
        with storage.creating() as place:
            zarr.create_group(place)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert not storage.exists()
    assert storage.names("") == []
    make(storage)
    assert zarr.open_group(storage.zarr_store(), mode="r").attrs["made"] == "here"


def test_the_faster_of_two_creators_wins(storage: Storage) -> None:
    with storage.creating() as place:
        zarr.create_group(place, attributes={"made": "too late"})
        make(storage)
    group = zarr.open_group(storage.zarr_store(), mode="r")
    assert group.attrs["made"] == "here"
    assert not any(name.startswith(TEMPORARY_PREFIX) for name in storage.names(""))


def test_a_storage_is_opened_again_by_its_location_or_from_a_pickle(storage: Storage) -> None:
    make(storage)
    for again in (open_storage(storage.location), pickle.loads(pickle.dumps(storage))):
        assert again.location == storage.location
        assert again.read("zarr.json") == storage.read("zarr.json")
    assert open_storage(storage) is storage


@pytest.mark.parametrize("location", ["https://host/a.zarr", "s3://", "s3:///a", "ftp://a/b"])
def test_urls_of_no_bucket_are_refused(location: str) -> None:
    pytest.importorskip("obstore", reason="obstore (extra `s3`) is not installed")
    with pytest.raises(CacheError, match="give a folder, or a URL"):
        open_storage(location)


def test_urls_are_told_from_folders() -> None:
    assert is_url("s3://bucket/a.zarr")
    assert not is_url("data/a.zarr")
    assert not is_url(Path("s3:/a.zarr"))
    assert open_storage("file:///some/a.zarr").folder == Path("/some/a.zarr")


def test_without_obstore_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cache.storage.objects", None)
    with pytest.raises(CacheError, match=r"\[s3\]"):
        open_storage("s3://bucket/a.zarr")
