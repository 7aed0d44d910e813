"""The real `posecache extract` with processes, on clusters, in parts: stopped, refused, mended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.dataset import Synthetic
from tests.test_cache.factory import store_bytes
from tests.test_pipeline.commands import CommandLine
from tests.test_scaling.clusters import ROOT, ended, started

pytestmark = pytest.mark.slow

POOLS = "dataset.options.pools={train: {prefix: T, num_subjects: 5, clips_each: 1, frames: 4}}"
WORKER = ("--nworkers", "1", "--nthreads", "1", "--no-dashboard")
HIDDEN = """
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("cache", "pipeline", "stages"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
from distributed.cli.dask_worker import main
main()
"""
OLDER = """
from importlib import metadata
version = metadata.version
metadata.version = lambda name: "1.26.0" if name == "numpy" else version(name)
from distributed.cli.dask_worker import main
main()
"""


def command(root: Path, *more: str) -> list[str]:
    sets = (POOLS, f"data_root={root}", "extract.shard_rows=8")  # 80 rows: ten chunks
    words = [word for text in sets for word in ("--set", text)]
    return [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *words, *more]


def ran(root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(root, *more), capture_output=True, text=True, check=False, timeout=300, cwd=ROOT
    )


def finished(root: Path, *more: str) -> str:
    result = ran(root, *more)
    assert result.returncode == 0, result.stderr
    return result.stdout


def commits(root: Path) -> list[Path]:
    return list(root.glob("*.zarr/commit/c.*"))


def begun(root: Path, *more: str) -> subprocess.Popen[str]:
    """The command in a process group of its own, with its first chunk committed."""
    process = subprocess.Popen(
        command(root, *more),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 180
    while not commits(root):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    return process


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the store that the real command writes in one process."""
    root = tmp_path_factory.mktemp("reference")
    finished(root, "--workers", "1")
    return store_bytes(next(root.glob("*.zarr")))


def test_two_processes_joined_over_tcp_write_the_same_bytes(
    reference: dict[str, bytes], cluster: str, tmp_path: Path
) -> None:
    assert "10 written" in finished(tmp_path, "--scheduler", cluster)
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".json", ".zarr"]


def test_any_number_of_threads_gives_the_same_bytes_with_and_without_workers(
    cluster: str, tmp_path: Path
) -> None:
    threads = ("--set", "extract.threads=2")
    kinds = {"one": ("--workers", "1"), "two": ("--workers", "2"), "tcp": ("--scheduler", cluster)}
    stores = []
    for name, kind in kinds.items():
        finished(tmp_path / name, *threads, *kind)
        stores.append(store_bytes(next((tmp_path / name).glob("*.zarr"))))
    assert stores[0] == stores[1] == stores[2]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_after_the_running_chunk(
    reference: dict[str, bytes], tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    process = begun(tmp_path, "--workers", workers)
    os.killpg(process.pid, number)  # as a terminal, `timeout` and batch systems do
    _, text = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "the running chunk is finished first" in text
    assert "The same command goes on from here" in text
    assert list(tmp_path.rglob(".tmp-*")) == []
    assert len(commits(tmp_path)) < 10
    finished(tmp_path, "--workers", workers)
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_every_process_at_once(
    reference: dict[str, bytes], tmp_path: Path, workers: str
) -> None:
    process = begun(tmp_path, "--workers", workers)
    process.send_signal(signal.SIGTERM)
    time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 128 + signal.SIGTERM
    deadline = time.monotonic() + 30
    while _alive(process.pid):
        assert time.monotonic() < deadline, "workers have outlived the command"
        time.sleep(0.1)
    finished(tmp_path, "--workers", workers)
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_worker_of_another_version_is_refused_with_both_numbers(
    address: str, tmp_path: Path
) -> None:
    process = started("-c", OLDER, address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    try:
        result = ran(tmp_path, "--scheduler", address)
    finally:
        ended(process)
    assert result.returncode == 3
    assert "MachineMismatch: " in result.stderr
    assert f"numpy: here {np.__version__}, there 1.26.0" in result.stderr
    assert "worker" in result.stderr
    assert commits(tmp_path) == []


def test_a_worker_without_this_package_is_named_also_when_it_joins_later(
    address: str, tmp_path: Path
) -> None:
    # It takes a second to start: the command may wait for a worker by then.
    process = started("-c", HIDDEN, address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    try:
        result = ran(tmp_path, "--scheduler", address)
    finally:
        ended(process)
    assert result.returncode == 3
    assert "cannot import posecache" in result.stderr


@pytest.mark.parametrize("decoy", [False, True])
def test_a_worker_with_a_disk_of_its_own_is_refused_before_any_chunk(
    address: str, tmp_path: Path, decoy: bool
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    if decoy:  # the worker has a store of that name, from an earlier job of its own
        finished(root, "--part", "1/10", "--workers", "1")
    copied = f"cp -r {root} {tmp_path}/local; mount --bind {tmp_path}/local {root}"
    python = f"{sys.executable} -m distributed.cli.dask_worker"
    alone = ["unshare", "-m", "sh", "-c"]
    if subprocess.run([*alone, "mount -t tmpfs none /mnt"], check=False).returncode:
        pytest.skip("needs the right to mount")
    process = subprocess.Popen(
        [*alone, f"{copied}; exec {python} {address} {' '.join(WORKER)}"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        before = len(commits(root))
        result = ran(root, "--scheduler", address)
    finally:
        ended(process)
    assert result.returncode == 3
    assert "does not see this store" in result.stderr
    assert "--part i/n" in result.stderr
    assert len(commits(root)) == before


def test_when_the_scheduler_dies_the_command_says_so(
    reference: dict[str, bytes], tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    words = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
    scheduler = started("-m", "distributed.cli.dask_scheduler", *words)
    while not file.exists():
        time.sleep(0.05)
    address = file.read_text().split('"address": "')[1].split('"')[0]
    worker = started("-m", "distributed.cli.dask_worker", address, *WORKER)
    try:
        process = begun(tmp_path / "data", "--scheduler", address)
        scheduler.kill()
        _, text = process.communicate(timeout=120)
    finally:
        ended(scheduler)
        ended(worker)
    assert process.returncode == 3
    assert "the scheduler has gone" in text
    finished(tmp_path / "data", "--workers", "1")
    assert store_bytes(next((tmp_path / "data").glob("*.zarr"))) == reference


def test_parts_and_repair_of_the_real_command(reference: dict[str, bytes], tmp_path: Path) -> None:
    text = finished(tmp_path, "--part", "2/2", "--workers", "1")
    assert "5 chunks of" in text
    assert "posecache cache merge" in text
    finished(tmp_path, "--part", "1/2", "--workers", "1")
    store = next(tmp_path.glob("*.zarr"))
    assert store_bytes(store) == reference
    shard = store / "features" / "x8" / "c.7.0.0.0.0"
    content = bytearray(shard.read_bytes())
    content[1000] ^= 4
    shard.write_bytes(content)
    text = finished(tmp_path, "--repair")
    assert "damaged: chunk 7, features/x8, rows 56-56" in text
    assert "9 chunks kept, 1 written" in text
    assert store_bytes(store) == reference
    assert "nothing is damaged" in finished(tmp_path, "--repair")


def test_job_array_without_a_shared_disk_merges_to_the_same_bytes(
    reference: dict[str, bytes], tmp_path: Path
) -> None:
    """As a batch system runs it: one shell line, the number of the job in its environment."""
    jobs = []
    for number in ("1", "2"):
        words = [*command(tmp_path / number, "--workers", "1"), "--part"]
        line = " ".join(f"'{word}'" for word in words) + " $SLURM_ARRAY_TASK_ID/2"
        environment = {**os.environ, "SLURM_ARRAY_TASK_ID": number}
        jobs.append(subprocess.Popen(["sh", "-c", line], cwd=ROOT, env=environment))
    assert [job.wait(300) for job in jobs] == [0, 0]
    stores = [str(next((tmp_path / number).glob("*.zarr"))) for number in ("1", "2")]
    out = tmp_path / "merged.zarr"
    merge = [sys.executable, "-m", "pipeline", "cache", "merge", *stores, "--out", str(out)]
    subprocess.run(merge, check=True, cwd=ROOT)
    assert store_bytes(out) == reference


def test_a_failed_chunk_ends_the_command_with_its_rows_and_the_next_one_does_only_that(
    reference: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    load_image = Synthetic.load_image

    def broken(self: Synthetic, row: int) -> NDArray[np.uint8]:
        if row == 30:
            raise ConnectionResetError("planted")
        return load_image(self, row)

    posecache = CommandLine(monkeypatch, capsys)
    words = command(tmp_path, "--workers", "1", "--set", "extract.loader_workers=0")[3:]
    with monkeypatch.context() as patched:
        patched.setattr(Synthetic, "load_image", broken)
        ended = posecache(*words)
    assert ended.code == 3
    assert "chunk 3 (rows 24-31): ConnectionResetError: planted" in ended.err
    assert len(commits(tmp_path)) == 9
    ended = posecache(*words)
    assert ended.code == 0
    assert "9 chunks kept, 1 written" in ended.out
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference
