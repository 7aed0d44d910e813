"""The real command killed, doubled, starved and fed damaged stores."""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cache import verify
from tests.test_cache.factory import store_bytes
from tests.test_reliability.command import (
    NUM_CHUNKS,
    STORE,
    can_mount,
    command,
    extract,
    in_own_mounts,
    start,
)
from tests.test_reliability.crash_points import leftovers
from tests.test_reliability.test_crash_points import crash

SEEDS = 20


def finish(root: Path, expected: dict[str, bytes]) -> None:
    """Run the command again: the bytes are those of an undisturbed run, nothing else is there."""
    ended = extract(root)
    assert ended.returncode == 0, ended.stderr
    assert store_bytes(root / STORE) == expected
    assert leftovers(root) == []


def kill_when(root: Path, ready: float) -> bool:
    """SIGKILL to the command some seconds after its store's folder appears; False if too late."""
    process = start(root)
    deadline = time.monotonic() + 120
    while process.poll() is None and not any(root.glob("**/zarr.json")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(ready)
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    return alive


def test_a_killed_command_goes_on_to_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    assert kill_when(tmp_path, 0.15)
    finish(tmp_path, expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_command_killed_at_a_random_moment_goes_on_to_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], seed: int
) -> None:
    # From the first file of the new store, half made and under another name, to its last chunk.
    kill_when(tmp_path, random.Random(seed).uniform(0, 1.5))
    finish(tmp_path, expected)


@pytest.mark.slow
def test_a_command_killed_at_its_steps_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    result = crash(tmp_path, "command", "--stride", "41")
    assert result["fault"] is None
    assert result["points"] > 12


@pytest.mark.slow
def test_two_commands_on_one_store_both_end_well(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    both = [start(tmp_path) for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert store_bytes(tmp_path / STORE) == expected
    assert leftovers(tmp_path) == []


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))


def test_files_that_grow_too_large_are_one_clear_error(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes]
) -> None:
    shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    (tmp_path / STORE / "commit" / "c.1").unlink()
    before = store_bytes(tmp_path / STORE)
    ended = extract(tmp_path, preexec_fn=limit_files)
    assert ended.returncode == 3
    assert "cannot write chunk 1" in ended.stderr
    assert f"its 1 committed chunks of {NUM_CHUNKS} are safe" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert store_bytes(tmp_path / STORE) == before
    finish(tmp_path, expected)


@pytest.mark.slow
@pytest.mark.skipif(not can_mount(), reason="needs root in a namespace that may mount")
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
            f"ls {disk}/*/commit >&2",
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


@pytest.mark.skipif(not can_mount(), reason="needs root in a namespace that may mount")
@pytest.mark.slow
def test_a_disk_that_became_read_only_is_one_clear_error(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes]
) -> None:
    shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    (tmp_path / STORE / "commit" / "c.1").unlink()
    words = " ".join(f"'{word}'" for word in command(tmp_path))
    ended = in_own_mounts(
        [f"mount --bind {tmp_path} {tmp_path}", f"mount -o remount,bind,ro {tmp_path}", words]
    )
    assert ended.returncode == 3, ended.stderr
    assert "cannot" in ended.stderr
    assert "Traceback" not in ended.stderr
    finish(tmp_path, expected)


def test_a_store_of_a_newer_format_is_refused_by_every_command(
    tmp_path: Path, undisturbed: Path
) -> None:
    store = shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    root = json.loads((store / "zarr.json").read_text())
    root["attributes"]["format_version"] = 2
    (store / "zarr.json").write_text(json.dumps(root))
    before = store_bytes(store)
    look = [sys.executable, "-m", "pipeline", "cache"]
    for words in (command(tmp_path), [*look, "verify", str(store)], [*look, "info", str(store)]):
        ended = subprocess.run(words, capture_output=True, text=True, check=False)
        assert ended.returncode == 4, words
        assert "format version 2" in ended.stderr
        assert "Traceback" not in ended.stderr
    assert store_bytes(store) == before


def flip(file: Path, position: int, bit: int = 3) -> None:
    content = bytearray(file.read_bytes())
    content[position] ^= 1 << bit
    file.write_bytes(content)


def test_damaged_chunks_are_extracted_again(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes]
) -> None:
    store = shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    shutil.copy(undisturbed / f"{STORE.removesuffix('.zarr')}.request.json", tmp_path)
    flip(store / "features" / "x8" / "c.1.0.0.0.0", 1000)
    flip(store / "keypoints" / "detector" / "c.1.0.0.0", 30)
    assert verify(store).damaged_chunks == (1,)
    kept = (store / "features" / "x8" / "c.0.0.0.0.0").stat().st_mtime_ns
    ended = extract(tmp_path, "--repair")
    assert ended.returncode == 0, ended.stderr
    assert "damaged: chunk 1, features/x8, rows 4-4" in ended.stdout
    assert "extracting chunks 1 again" in ended.stdout
    assert store_bytes(store) == expected
    assert (store / "features" / "x8" / "c.0.0.0.0.0").stat().st_mtime_ns == kept
