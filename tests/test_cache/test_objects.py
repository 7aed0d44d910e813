"""A store on a real S3 server: written, killed, resumed, verified, read, damaged."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import zarr
from zarr.storage import ObjectStore as ZarrObjectStore

from cache import (
    CacheCorrupt,
    CacheError,
    CacheIncomplete,
    CacheMismatch,
    CacheMissing,
    CacheReader,
    CacheUnreachable,
    CacheWriteError,
    verify,
)
from cache.storage import open_storage
from tests.test_cache.factory import (
    FEATURE_IDENTITY,
    array_rows,
    make_chunk,
    make_plan,
    make_spec,
    open_writer,
    store_bytes,
    write_store,
)

obstore = pytest.importorskip("obstore", reason="obstore (extra `s3`) is not installed")
SPEC = make_spec(10)  # three chunks
CHILD = """
import sys
from cache.storage.objects import ObjectStorage
from tests.test_cache.factory import make_spec, write_store
put, left = ObjectStorage._put, [int(sys.argv[2])]
def put_or_die(self, *args, **settings):
    if not left[0]:
        import os, signal
        os.kill(os.getpid(), signal.SIGKILL)
    left[0] -= 1
    return put(self, *args, **settings)
ObjectStorage._put = put_or_die
write_store(sys.argv[1], make_spec(10))
"""


def objects(url: str) -> dict[str, bytes]:
    """Content of every object of a store by key."""
    store = open_storage(url)._objects
    found = [each["path"] for page in obstore.list(store) for each in page]
    return {key: bytes(obstore.get(store, key).bytes()) for key in found}


def test_a_store_of_objects_is_that_of_a_folder(bucket: str, tmp_path: Path) -> None:
    url = f"{bucket}/a.zarr"
    with open_writer(url, SPEC) as writer:
        assert writer.missing_chunks() == [0, 1, 2]
        writer.write_chunk(1, make_chunk(SPEC, writer.chunk_rows(1)))
    with pytest.raises(CacheIncomplete, match="missing 0, 2"):
        CacheReader(url)
    np.testing.assert_array_equal(
        CacheReader(url, allow_incomplete=True).read([5], view=1)["x8"][0],
        array_rows(SPEC, "features/x8", range(5, 6))[0, 1],
    )
    write_store(url, SPEC)
    assert objects(url) == store_bytes(write_store(tmp_path / "a.zarr", SPEC))

    assert verify(url).ok
    reader, rows = CacheReader(url), np.random.default_rng(0).permutation(10)
    for name, maps in reader.read(rows, view=1).items():
        expected = array_rows(SPEC, f"features/{name}", rows)[:, 1]
        np.testing.assert_array_equal(maps, expected)
        array = zarrs_own(url)[f"features/{name}"][:, 1]
        np.testing.assert_array_equal(array[rows], expected)
    np.testing.assert_array_equal(reader.labels("joints_3d_mm"), make_plan(10).joints_3d_mm)
    assert reader.name == "a"
    assert reader.locations == (url,)


def zarrs_own(url: str) -> zarr.Group:
    """The store as zarr opens it, with nothing of ours in between."""
    objects_of_url = obstore.store.from_url(url, client_options={"allow_http": True})
    return zarr.open_group(ZarrObjectStore(objects_of_url), mode="r")


@pytest.mark.parametrize(
    "survived",
    [
        9,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (0, -1, -15, *range(-44, 0, 4))),
    ],
)
def test_a_writer_killed_between_any_two_objects_loses_nothing(bucket: str, survived: int) -> None:
    whole, url = f"{bucket}/whole.zarr", f"{bucket}/a.zarr"
    write_store(whole, SPEC)
    expected = objects(whole)
    num_puts = len(expected) + 1  # and the claim
    child = subprocess.run(
        [sys.executable, "-c", CHILD, url, str(survived % num_puts)],
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert child.returncode == -signal.SIGKILL
    if open_storage(url).exists():
        assert verify(url).bad == ()
    else:
        with pytest.raises(CacheMissing):
            CacheReader(url)
    write_store(url, SPEC)
    assert objects(url) == expected


def test_other_settings_are_refused(bucket: str) -> None:
    url = f"{bucket}/a.zarr"
    write_store(url, SPEC, [0])
    with pytest.raises(CacheMismatch, match=r"crop: stored 1\.25, asked 2"):
        open_writer(url, SPEC, feature_identity={**FEATURE_IDENTITY, "crop": 2})


def test_a_store_being_created_with_other_settings_is_not_touched(bucket: str) -> None:
    url = f"{bucket}/a.zarr"
    open_storage(url).write({"creating": [b"someone else"]})
    with pytest.raises(CacheError, match=r"If none is running.*delete s3://.*a\.zarr/creating"):
        open_writer(url, SPEC)
    assert list(objects(url)) == ["creating"]


@pytest.mark.parametrize(
    "fault", ["flipped", *(pytest.param(each, marks=pytest.mark.slow) for each in ("cut", "lost"))]
)
@pytest.mark.parametrize(
    ("key", "where"), [("features/x4/c.1.0.0.0.0", "x4"), ("status/c.1", "status")]
)
def test_damaged_objects_are_found_and_written_again(
    bucket: str, key: str, where: str, fault: str
) -> None:
    url = f"{bucket}/a.zarr"
    write_store(url, SPEC)
    storage, expected = open_storage(url), objects(url)
    content = bytearray(expected[key])
    content[len(content) // 3] ^= 4
    if fault == "lost":
        storage.delete(key)
    else:
        storage.write({key: [bytes(content) if fault == "flipped" else expected[key][:-9]]})
    report = verify(url)
    assert report.damaged_chunks == (1,)
    assert where in report.bad[0].array
    with pytest.raises(CacheCorrupt, match="chunk 1"):
        read_all(CacheReader(url))
    with open_writer(url, SPEC) as writer:
        writer.discard_chunk(1)
        assert writer.missing_chunks() == [1]
    write_store(url, SPEC)
    assert objects(url) == expected


def read_all(reader: CacheReader) -> None:
    for view in (0, 1):
        reader.read(range(10), view=view)
    reader.status()


def test_a_refused_write_commits_nothing(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{bucket}/a.zarr"
    write_store(url, SPEC, [0])
    before = objects(url)
    put = obstore.put

    def refuse(store: object, key: str, content: bytes, **settings: object) -> object:
        if key.startswith("features/x8"):
            raise obstore.exceptions.PermissionDeniedError("no room for you\n\nDebug source:\n...")
        return put(store, key, content, **settings)

    with monkeypatch.context() as patch:
        patch.setattr(obstore, "put", refuse)
        with pytest.raises(CacheWriteError, match=r"cannot write chunk 1 of s3://.*: no room for"):
            write_store(url, SPEC)
    assert {key for key in objects(url) if "commit/c" in key} == {"commit/c.0"}
    assert before.items() <= objects(url).items()
    assert verify(url).bad == ()


def test_a_bucket_that_is_not_there_is_one_clear_error(bucket: str) -> None:
    assert bucket
    with pytest.raises(CacheWriteError, match=r"NoSuchBucket|not found"):
        write_store("s3://nobodys-bucket/a.zarr", SPEC)
    with pytest.raises(CacheMissing, match="no store at s3://nobodys-bucket"):
        CacheReader("s3://nobodys-bucket/a.zarr")


def test_a_server_that_is_gone_is_no_damage(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"{bucket}/a.zarr"
    write_store(url, SPEC)
    monkeypatch.setattr("cache.storage.objects._RETRIES", {"max_retries": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(CacheUnreachable, match=r"cannot read zarr\.json.*AWS_") as caught:
        CacheReader(url)
    assert "Debug" not in str(caught.value)
    assert time.monotonic() - began < 30
