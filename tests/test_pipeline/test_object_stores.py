"""The real `posecache extract` into a bucket: killed, repeated, looked into, joined by others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from cache.storage import open_storage
from tests.test_cache.factory import store_bytes
from tests.test_cache.test_objects import objects
from tests.test_pipeline.commands import CommandLine
from tests.test_reliability.command import STORE, command, extract

pytest.importorskip("obstore", reason="obstore (extra `s3`) is not installed")


@pytest.fixture(scope="module")
def in_a_folder(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    root = tmp_path_factory.mktemp("folder")
    ended = extract(root)
    assert ended.returncode == 0, ended.stderr
    return store_bytes(root / STORE)


def killed_after(root: str, key: str) -> None:
    """Start the command and kill it as soon as an object is there."""
    process = subprocess.Popen(
        command(root), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    storage, deadline = open_storage(f"{root}/{STORE}"), time.monotonic() + 120
    while process.poll() is None and not storage.has(key) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.slow
@pytest.mark.parametrize("key", ["commit/c.0", "creating"])
def test_a_killed_extraction_goes_on_to_the_bytes_of_a_folder(
    bucket: str, in_a_folder: dict[str, bytes], posecache: CommandLine, key: str
) -> None:
    killed_after(bucket, key)
    ended = extract(bucket)
    assert ended.returncode == 0, ended.stderr
    assert objects(f"{bucket}/{STORE}") == in_a_folder

    again = posecache(*command(bucket)[3:])
    assert again.code == 0, again.err
    assert "up to date, nothing to extract" in again.out
    (listed,) = json.loads(posecache("cache", "list", "--json", "-s", f"data_root={bucket}").out)
    assert (listed["path"], listed["complete"]) == (f"{bucket}/{STORE}", True)
    assert listed["size_bytes"] == sum(map(len, in_a_folder.values()))
    assert posecache("cache", "verify", listed["path"]).code == 0
    parent = open_storage(bucket)
    beside = {STORE.replace(".zarr", end) for end in (".request.json", ".provenance.json")}
    assert set(parent.names("")) == {STORE, *beside}


@pytest.mark.slow
def test_damaged_objects_are_extracted_again(bucket: str, in_a_folder: dict[str, bytes]) -> None:
    assert extract(bucket).returncode == 0
    storage, key = open_storage(f"{bucket}/{STORE}"), "features/x8/c.1.0.0.0.0"
    content = bytearray(storage.read(key))
    content[1000] ^= 1
    storage.write({key: [bytes(content)]})
    ended = extract(bucket, "--repair")
    assert ended.returncode == 0, ended.stderr
    assert "extracting chunks 1 again" in ended.stdout
    assert objects(storage.location) == in_a_folder


@pytest.mark.slow
def test_a_dry_run_asks_no_disk(bucket: str) -> None:
    ended = extract(bucket, "--dry-run")
    assert ended.returncode == 0, ended.stderr
    assert f"of {bucket}/{STORE}" in ended.stdout
    assert "free" not in ended.stdout
    assert open_storage(bucket).names("") == []


def test_leftovers_and_disks_are_for_folders(bucket: str, posecache: CommandLine) -> None:
    ended = posecache("cache", "gc", bucket)
    assert (ended.code, "only folders have leftovers" in ended.err) == (2, True)
    report = json.loads(posecache("doctor", "--json", "-s", f"data_root={bucket}").out)
    (found,) = [each for each in report["findings"] if each["name"] == "bucket"]
    assert (found["level"], "answers" in found["value"]) == ("ok", True)


def test_a_server_that_is_gone_is_one_clear_error(
    bucket: str, monkeypatch: pytest.MonkeyPatch, posecache: CommandLine
) -> None:
    monkeypatch.setattr("cache.storage.objects._RETRIES", {"max_retries": 1})
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    ended = posecache("cache", "info", f"{bucket}/{STORE}")
    assert (ended.code, "AWS_*" in ended.err) == (3, True)
    assert posecache("doctor", "-s", f"data_root={bucket}").code == 1
