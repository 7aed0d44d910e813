"""The real `posecache extract`, in a process of its own: killed, repeated, refused."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

POOLS = (
    "dataset.options.pools={train: {prefix: T, num_subjects: 4, clips_each: 1, frames: 4},"
    " test: {prefix: E, num_subjects: 2, clips_each: 1, frames: 4}}"
)
SHARD_ROWS = 16  # 96 rows: six chunks
SHIPPED = Path(__file__).parents[2] / "stages" / "extract" / "detectors" / "shipped" / "synthetic"


def command(root: Path, *more: str) -> list[str]:
    settings = (POOLS, f"data_root={root}", f"extract.shard_rows={SHARD_ROWS}", *more)
    words = [word for setting in settings for word in ("--set", setting)]
    return [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *words]


def run(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, *more), capture_output=True, text=True, check=False, timeout=300
    )


def digest(store: Path) -> dict[str, str]:
    return {
        str(file.relative_to(store)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(store.rglob("*"))
        if file.is_file()
    }


def store_of(root: Path) -> Path:
    (store,) = root.glob("*.zarr")
    return store


def chunks_of(root: Path) -> int:
    return len(list(root.glob("*.zarr/commit/c*"))) if root.exists() else 0


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("undisturbed")
    ended = run(root)
    assert ended.returncode == 0, ended.stderr
    return root


def kill_after_chunks(root: Path, chunks: int) -> None:
    process = subprocess.Popen(
        command(root),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 240
    while chunks_of(root) < chunks and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    assert process.poll() is None, "it ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_kill_9_and_the_same_command_again_give_the_same_bytes(
    undisturbed: Path, tmp_path: Path
) -> None:
    kill_after_chunks(tmp_path, 2)
    before = chunks_of(tmp_path)
    assert 2 <= before < 6
    ended = run(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert f"{before} chunks kept, {6 - before} written" in ended.stdout
    assert digest(store_of(tmp_path)) == digest(store_of(undisturbed))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_kill_9_at_any_moment_loses_nothing(undisturbed: Path, tmp_path: Path, seed: int) -> None:
    process = subprocess.Popen(
        command(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    time.sleep(3 + 2.3 * seed)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert run(tmp_path).returncode == 0
    assert digest(store_of(tmp_path)) == digest(store_of(undisturbed))


def test_a_second_extract_says_there_is_nothing_to_do(undisturbed: Path) -> None:
    before = digest(store_of(undisturbed))
    ended = run(undisturbed)
    assert ended.returncode == 0
    assert "up to date" in ended.stdout
    assert digest(store_of(undisturbed)) == before


@pytest.mark.slow
def test_another_crop_in_the_same_store_is_refused_by_name(undisturbed: Path) -> None:
    before = digest(store_of(undisturbed))
    ended = run(undisturbed, "crop.padding=1.3")
    assert ended.returncode == 4
    assert "crop.padding" in ended.stderr
    assert "1.3" in ended.stderr
    assert digest(store_of(undisturbed)) == before


@pytest.mark.slow
def test_another_detector_in_the_same_store_is_refused_by_name(
    undisturbed: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file, save_file

    weights = load_file(SHIPPED / "weights.safetensors")
    name = next(name for name in weights if name.endswith("final_layer.weight"))
    weights[name] = weights[name] * 1.01
    save_file(weights, tmp_path / "weights.safetensors")
    (tmp_path / "detector.json").write_text((SHIPPED / "detector.json").read_text())
    before = digest(store_of(undisturbed))
    ended = run(undisturbed, f"detector.folder={tmp_path}")
    assert ended.returncode == 4
    assert "weights" in ended.stderr
    assert digest(store_of(undisturbed)) == before
