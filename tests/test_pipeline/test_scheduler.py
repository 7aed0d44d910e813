"""Extraction on real Dask workers: killed ones, other versions, two processes joined over TCP."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from pipeline import scheduler
from pipeline.config import load_config
from pipeline.errors import ConfigError, exit_code
from pipeline.machines import MachineMismatch, machine_here, refuse_other_machine
from pipeline.scheduler import SchedulerError, worker_environments
from pipeline.workers import extract_request, num_workers
from stages.extract.chunks import ExtractProgress, extract
from stages.extract.datasets import FrameError
from stages.extract.datasets.human36m import Human36m
from tests.test_cache.factory import store_bytes
from tests.test_extract.studio import DotDetector, write_layout
from tests.test_pipeline.clusters import (
    CONFIG,
    CROP,
    BreaksAtRow,
    KillsItsReader,
    distribute,
)

# Sockets and pipes of a cluster that is closed with killed workers are left to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

ROOT = Path(__file__).parents[2]
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
POOLS = "dataset.options.pools={train: {prefix: T, num_subjects: 5, clips_each: 1, frames: 4}}"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def serial(layout: Path, tmp_path: Path) -> dict[str, bytes]:
    """Files of the store that one process writes."""
    extract(Human36m(layout), DotDetector(), CROP, tmp_path / "serial.zarr", CONFIG)
    return store_bytes(tmp_path / "serial.zarr")


def started(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ended(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler in a process of its own, without workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    process = started("-m", "distributed.cli.dask_scheduler", *words)
    yield f"tcp://127.0.0.1:{port}"
    ended(process)


@pytest.fixture(scope="module")
def cluster(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scheduler with one worker, in a third process."""
    scratch = str(tmp_path_factory.mktemp("worker"))
    process = started(
        "-m",
        "distributed.cli.dask_worker",
        address,
        *("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", scratch),
    )
    yield address
    ended(process)


def test_a_worker_killed_in_the_middle_costs_only_its_chunk(
    layout: Path, tmp_path: Path, serial: dict[str, bytes]
) -> None:
    marker, seen = tmp_path / "killed", list[ExtractProgress]()
    summary = distribute(partial(KillsItsReader, layout, marker), tmp_path / "a.zarr", seen=seen)
    assert marker.exists()
    assert (summary.chunks_done, summary.chunks_missing) == (9, 0)
    assert store_bytes(tmp_path / "a.zarr") == serial
    assert (seen[-1].rows_done, seen[-1].chunks_done, seen[-1].num_chunks) == (9, 9, 9)


def test_processes_joined_over_tcp_write_the_same_bytes(
    layout: Path, tmp_path: Path, serial: dict[str, bytes], cluster: str
) -> None:
    config = CONFIG.model_copy(update={"scheduler": cluster})
    stopped = distribute(partial(Human36m, layout), tmp_path / "a.zarr", config, stop_after=3)
    assert stopped.chunks_done in (3, 4)
    assert stopped.chunks_missing == 9 - stopped.chunks_done
    marks = tmp_path / "marks"
    marks.mkdir()
    again = distribute(
        partial(BreaksAtRow, layout, marks, scheduler.RETRIES), tmp_path / "a.zarr", config
    )
    assert again.chunks_missing == 0
    assert len(list(marks.iterdir())) == scheduler.RETRIES
    assert store_bytes(tmp_path / "a.zarr") == serial


def test_an_error_in_a_worker_arrives_as_the_same_error(
    layout: Path, tmp_path: Path, cluster: str
) -> None:
    missing = Human36m(layout).plan().index["item"].words()[5]
    (layout / "images" / missing).unlink()
    config = CONFIG.model_copy(update={"scheduler": cluster, "strict": True})
    with pytest.raises(FrameError, match=r"Row 5 .*missing") as caught:
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)
    assert exit_code(caught.value) == 3


@pytest.mark.parametrize(
    ("name", "where", "advice"),
    [("numpy", "scheduler", "same versions"), ("processor", "worker", "mixed_machines=true")],
)
def test_another_version_or_processor_is_refused_before_any_task(
    layout: Path,
    tmp_path: Path,
    cluster: str,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    where: str,
    advice: str,
) -> None:
    here = {**machine_here("cpu"), name: "planted"}
    monkeypatch.setattr(scheduler, "machine_here", lambda _device: here)
    config = CONFIG.model_copy(update={"scheduler": cluster})
    with pytest.raises(MachineMismatch, match=f"{where} tcp.*{name}: here planted.*{advice}"):
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)
    assert list((tmp_path / "a.zarr" / "commit").glob("c*")) == []


def test_a_task_refuses_a_worker_that_joined_later(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"device": "cpu", "threads": 1}
    asked = {**machine_here("cpu"), "torch": "0.1"}
    result = scheduler._extract(b"", 0, machine=asked, mixed_machines=False, **settings)
    assert isinstance(result, scheduler._Failure)
    assert isinstance(result.error, MachineMismatch)
    assert "torch: here 0.1" in str(result.error)
    monkeypatch.setattr(scheduler, "extract_chunk", lambda *_: "extracted")
    asked = {**machine_here("cpu"), "processor": "AVX9"}
    result = scheduler._extract(b"", 0, machine=asked, mixed_machines=False, **settings)
    assert isinstance(result, scheduler._Failure)
    assert scheduler._extract(b"", 0, machine=asked, mixed_machines=True, **settings) == "extracted"


def test_equal_machines_are_equal() -> None:
    refuse_other_machine(machine_here("cpu"), machine_here("cpu"))


def test_a_worker_without_this_package_is_named_also_when_it_joins_later(
    layout: Path, tmp_path: Path, address: str
) -> None:
    config = CONFIG.model_copy(update={"scheduler": address})
    words = (address, "--no-nanny", "--nthreads", "1", "--no-dashboard")
    # It takes a second to start: the command waits for a worker by then.
    process = started("-c", HIDDEN, *words)
    try:
        with pytest.raises(SchedulerError, match="cannot import posecache"):
            distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)
    finally:
        ended(process)


def test_an_address_where_nobody_answers_says_what_to_start(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "_CONNECT_S", 0.5)
    config = CONFIG.model_copy(update={"scheduler": "tcp://127.0.0.1:1"})
    with pytest.raises(SchedulerError, match="dask scheduler"):
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)


def test_each_worker_gets_a_gpu_of_its_own() -> None:
    names = [each["CUDA_VISIBLE_DEVICES"] for each in worker_environments(3, "cuda", "2,5")]
    assert names == ["2", "5", "2"]
    assert worker_environments(2, "cuda:1", "0,1") == [{}, {}]
    assert worker_environments(2, "cpu", None) == [{}, {}]


def test_automatic_workers_are_the_cores_that_have_enough_to_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert [num_workers(load_config(), chunks) for chunks in (0, 7, 8, 17, 1000)] == [1, 1, 2, 4, 8]
    chosen = load_config(sets=["extract.workers=3"])
    assert [num_workers(chosen, chunks) for chunks in (0, 2, 1000)] == [1, 2, 3]


def test_without_dask_one_process_is_automatic_and_more_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert num_workers(load_config(), 1000) == 1
    for text in ("extract.workers=2", "extract.scheduler=tcp://host:8786"):
        with pytest.raises(ConfigError, match=r"posecache\[scale\]"):
            num_workers(load_config(sets=[text]), 1000)


def test_a_worker_in_another_folder_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sets = ["dataset.root=data", "detector.config=a.py", "detector.weights=b.pth"]
    request = extract_request(load_config(dataset="human36m", sets=sets), "/store.zarr")
    assert isinstance(request.dataset, partial)
    assert isinstance(request.detector, partial)
    assert request.dataset.args[0].root == tmp_path / "data"
    assert request.detector.args[0].config == str(tmp_path / "a.py")
    assert request.detector.args[0].weights == tmp_path / "b.pth"


def command(root: Path, *more: str) -> list[str]:
    sets = (POOLS, f"data_root={root}", "extract.shard_rows=8")  # 80 rows: ten chunks
    words = [word for text in sets for word in ("--set", text)]
    return [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *words, *more]


def finished(root: Path, *more: str) -> str:
    result = subprocess.run(
        command(root, *more), capture_output=True, text=True, check=False, timeout=300, cwd=ROOT
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Files of the store that the real command writes in one process."""
    root = tmp_path_factory.mktemp("reference")
    finished(root, "--workers", "1")
    return store_bytes(next(root.glob("*.zarr")))


@pytest.mark.slow
def test_the_real_command_on_a_cluster_writes_the_same_bytes(
    reference: dict[str, bytes], cluster: str, tmp_path: Path
) -> None:
    assert "10 written" in finished(tmp_path, "--scheduler", cluster)
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_processes_ends_after_the_running_chunk(
    reference: dict[str, bytes], tmp_path: Path, workers: str, number: signal.Signals
) -> None:
    process = subprocess.Popen(
        command(tmp_path, "--workers", workers),
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        cwd=ROOT,
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*.zarr/commit/c.*")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, number)  # as a terminal, `timeout` and batch systems do
    _, text = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "The same command goes on from here" in text
    assert list(tmp_path.rglob(".tmp-*")) == []
    assert len(list(tmp_path.glob("*.zarr/commit/c.*"))) < 10
    finished(tmp_path, "--workers", workers)
    assert store_bytes(next(tmp_path.glob("*.zarr"))) == reference


@pytest.mark.slow
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
