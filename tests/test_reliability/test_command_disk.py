"""The real command on a disk that is full, or may only be read."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path

import pytest

from cache import verify
from tests.test_cache.factory import store_bytes
from tests.test_pipeline.commands import CommandLine
from tests.test_reliability.command import (
    NUM_CHUNKS,
    STORE,
    can_mount,
    command,
    extract,
    in_own_mounts,
)
from tests.test_reliability.crash_points import leftovers

needs_mounts = pytest.mark.skipif(
    not can_mount(), reason="needs root and file systems of its own (unshare --mount)"
)


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


@pytest.mark.slow
def test_files_that_grow_too_large_are_one_clear_error(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes], posecache: CommandLine
) -> None:
    shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    (tmp_path / STORE / "commit" / "c.1").unlink()
    before = store_bytes(tmp_path / STORE)
    ended = extract(tmp_path, preexec_fn=limit_files)
    assert ended.returncode == 3
    assert "cannot write chunk 1" in ended.stderr
    assert "File too large" in ended.stderr
    assert f"its 1 committed chunks of {NUM_CHUNKS} are safe" in ended.stderr
    assert "run the same command again to resume" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store_bytes(tmp_path / STORE) == before
    _, _, _, *words = command(tmp_path)
    assert posecache(*words).code == 0
    assert store_bytes(tmp_path / STORE) == expected


@pytest.mark.slow
@needs_mounts
def test_a_full_disk_is_one_clear_error_and_nothing_is_lost(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    disk, out = tmp_path / "disk", tmp_path / "out"
    disk.mkdir()
    words = " ".join(f"'{word}'" for word in command(disk))
    ended = in_own_mounts(
        [
            f"mount -t tmpfs -o size=1600k none {disk}",
            f"{{ {words}; test $? = 3; }}",
            f"cp -r {disk} {out}",
            # Space is freed: the same command ends what it began.
            f"mount -o remount,size=9m {disk}",
            words,
            f"cp -r {disk} {out}.whole",
        ]
    )
    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Free space, then run the same command again" in ended.stderr
    assert "Traceback" not in ended.stderr
    full = store_bytes(out / STORE)
    assert {key for key in full if key.startswith("commit/c.")} == {"commit/c.0"}
    assert full.items() <= expected.items()
    assert verify(out / STORE).bad == ()
    assert store_bytes(tmp_path / "out.whole" / STORE) == expected


@pytest.mark.slow
@needs_mounts
def test_a_disk_that_may_only_be_read_is_one_clear_error_and_reads(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes]
) -> None:
    shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    (tmp_path / STORE / "commit" / "c.1").unlink()
    before = store_bytes(tmp_path)
    read_only = [f"mount --bind {tmp_path} {tmp_path}", f"mount -o remount,bind,ro {tmp_path}"]
    words = " ".join(f"'{word}'" for word in command(tmp_path))
    ended = in_own_mounts([*read_only, words])
    assert ended.returncode == 3, ended.stderr
    assert "cannot" in ended.stderr
    assert str(tmp_path) in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store_bytes(tmp_path) == before
    (tmp_path / STORE / "commit" / "c.1").write_bytes(expected["commit/c.1"])
    look = f"{command(tmp_path)[0]} -m pipeline cache verify {tmp_path / STORE}"
    looked = in_own_mounts([*read_only, look])
    assert looked.returncode == 0, looked.stderr
    (tmp_path / STORE / "commit" / "c.1").unlink()
    assert extract(tmp_path).returncode == 0
    assert store_bytes(tmp_path / STORE) == expected
    assert leftovers(tmp_path) == []
