"""The real command killed, doubled and fed damaged stores."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import time
from pathlib import Path

import pytest

from cache import verify
from tests.test_cache.factory import store_bytes
from tests.test_pipeline.commands import CommandLine
from tests.test_reliability.command import STORE, command, extract, start
from tests.test_reliability.crash_points import leftovers
from tests.test_reliability.damage import chunk_of, draw
from tests.test_reliability.test_crash_points import crash

SEEDS_EACH = 5


def finish(root: Path, expected: dict[str, bytes], *words: str) -> None:
    """Run the command again: the bytes are those of an undisturbed run, nothing else is there."""
    ended = extract(root, *words)
    assert ended.returncode == 0, ended.stderr
    assert store_bytes(root / STORE) == expected
    assert leftovers(root) == []


def kill_after(root: Path, seconds: float, *words: str) -> bool:
    """SIGKILL to the command so long after its store's first file; False if it was faster."""
    process = start(root, *words)
    deadline = time.monotonic() + 120
    while process.poll() is None and not any(root.glob("**/zarr.json")):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    time.sleep(seconds)
    alive = process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)  # its workers as well
    process.communicate()
    return alive


@pytest.mark.slow
def test_a_killed_command_goes_on_to_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], posecache: CommandLine
) -> None:
    assert kill_after(tmp_path, 0.15)
    _, _, _, *settings = command(tmp_path)
    ended = posecache(*settings)
    assert ended.code == 0, ended.err
    assert store_bytes(tmp_path / STORE) == expected
    assert leftovers(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("first_seed", range(0, 4 * SEEDS_EACH, SEEDS_EACH))
def test_a_command_killed_at_random_moments_goes_on_to_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], first_seed: int
) -> None:
    num_killed = 0
    for seed in range(first_seed, first_seed + SEEDS_EACH):
        # From the first file of the new store, half made and under another name, to the last chunk.
        root = tmp_path / str(seed)
        num_killed += kill_after(root, random.Random(seed).uniform(0, 1.2))
        finish(root, expected)
    assert num_killed >= SEEDS_EACH // 2


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_workers_killed_at_random_moments_go_on_to_the_same_bytes(
    tmp_path: Path, expected: dict[str, bytes], seed: int
) -> None:
    pytest.importorskip("distributed", reason="workers need Dask")
    assert kill_after(tmp_path, random.Random(seed).uniform(0, 4), "--workers", "2")
    finish(tmp_path, expected, "--workers", "2")


@pytest.mark.slow
def test_a_command_killed_at_its_steps_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    result = crash(tmp_path, "command", "--stride", "67")
    assert result["fault"] is None
    assert result["points"] > 7


@pytest.mark.slow
def test_kills_of_the_command_find_a_store_that_does_not_appear_whole(tmp_path: Path) -> None:
    result = crash(tmp_path, "command", "--stride", "9", "--without", "whole-creation")
    assert result["fault"] is not None
    assert "the next run fails" in result["fault"]


@pytest.mark.slow
def test_two_commands_on_one_store_both_end_well(
    tmp_path: Path, expected: dict[str, bytes]
) -> None:
    both = [start(tmp_path) for _ in range(2)]
    ended = [process.communicate(timeout=300) for process in both]
    assert [process.returncode for process in both] == [0, 0], ended
    assert store_bytes(tmp_path / STORE) == expected
    assert leftovers(tmp_path) == []


def test_a_store_of_a_newer_format_is_refused_by_every_command(
    tmp_path: Path, undisturbed: Path, posecache: CommandLine
) -> None:
    store = str(shutil.copytree(undisturbed / STORE, tmp_path / STORE))
    root = json.loads(Path(store, "zarr.json").read_text())
    root["attributes"]["format_version"] = 2
    Path(store, "zarr.json").write_text(json.dumps(root))
    before, out = store_bytes(tmp_path), str(tmp_path / "out.zarr")
    _, _, _, *settings = command(tmp_path)
    for words in (
        settings,
        [*settings, "--repair"],
        ["cache", "info", store],
        ["cache", "show", store],
        ["cache", "verify", store],
        ["cache", "verify", "--quick", store],
        ["cache", "diff", store, store],
        ["cache", "recode", store, out, "--dtype", "uint8"],
        ["cache", "merge", store, store, "--out", out],
        ["cache", "subset", store, "--out", out, "--where", "split=train"],
        ["lift", *settings[1:]],
    ):
        ended = posecache(*words)
        assert ended.code == 4, (words, ended)
        assert "format version 2, this release reads version 1" in ended.err
    assert "format version 2" in posecache("cache", "list", "--set", f"data_root={tmp_path}").out
    assert posecache("cache", "gc", str(tmp_path), "--yes").code == 0
    assert store_bytes(tmp_path) == before


def test_damaged_chunks_are_extracted_again(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes], posecache: CommandLine
) -> None:
    store = shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    shutil.copy(undisturbed / f"{STORE.removesuffix('.zarr')}.request.json", tmp_path)
    files = [key for key in expected if chunk_of(key) == 1]
    assert len(files) == 9
    for seed, key in enumerate(files):
        damaged = draw(key, expected[key], seed, "cut" if seed % 3 == 2 else "flip")
        content = damaged.do(expected[key])
        assert content is not None
        (store / key).write_bytes(content)
    assert verify(store).damaged_chunks == (1,)
    kept = (store / "features" / "x8" / "c.0.0.0.0.0").stat().st_mtime_ns
    _, _, _, *settings = command(tmp_path)
    ended = posecache(*settings, "--repair")
    assert ended.code == 0, ended.err
    for key in files:
        array = key.rpartition("/")[0]
        assert re.search(rf"damaged: chunk 1, {array}, rows [4-7]-[4-7]: ", ended.out)
    assert "extracting chunks 1 again" in ended.out
    assert store_bytes(store) == expected
    assert (store / "features" / "x8" / "c.0.0.0.0.0").stat().st_mtime_ns == kept


def test_a_chunk_without_its_commit_is_extracted_again(
    tmp_path: Path, undisturbed: Path, expected: dict[str, bytes], posecache: CommandLine
) -> None:
    store = shutil.copytree(undisturbed / STORE, tmp_path / STORE)
    (store / "commit" / "c.0").unlink()
    _, _, _, *settings = command(tmp_path)
    ended = posecache(*settings)
    assert ended.code == 0, ended.err
    assert "1 chunks kept, 1 written" in ended.out
    assert store_bytes(store) == expected
