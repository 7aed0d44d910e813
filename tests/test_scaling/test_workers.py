"""Who extracts, with what settings, and what a task refuses; no process is started here."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from functools import partial
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cache import CacheMissing
from cache.garbage import find_leftovers
from pipeline.config import load_config
from pipeline.console import Meter
from pipeline.errors import ConfigError
from pipeline.extraction import scheduler
from pipeline.extraction.clusters import worker_environments
from pipeline.extraction.extracted import _Rate
from pipeline.extraction.inspection import WorkerAnswer, shared_gpus
from pipeline.extraction.machines import MachineMismatch, machine_here, refuse_other_machine
from pipeline.extraction.scheduler import Failure, extract_here
from pipeline.extraction.sharing import refuse_unshared, sees_store, shared_mark
from pipeline.extraction.workers import extract_request, num_workers
from stages.extract.extraction import ExtractProgress
from stages.extract.tasks import ChunkResult

NAMED = ("python", "posecache", "torch", "numpy", "zarr", "mmpose", "cv2", "distributed")


@pytest.mark.parametrize("name", NAMED)
def test_a_version_that_differs_is_named_with_both_numbers(name: str) -> None:
    here = machine_here("cpu")
    there = {**here, name: "0.1"}
    with pytest.raises(
        MachineMismatch, match=f"the worker w .*{name}: here .*, there 0.1"
    ) as error:
        refuse_other_machine(here, there, where="the worker w")
    assert str(here[name]) in str(error.value)


def test_every_version_that_decides_bytes_is_known_here() -> None:
    assert {name for name in NAMED if machine_here("cpu")[name] is None} == set()


def test_equal_machines_are_equal() -> None:
    refuse_other_machine(machine_here("cpu"), machine_here("cpu"))


def test_a_task_refuses_a_worker_that_joined_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "extract_chunk", lambda *_: "extracted")
    (tmp_path / "a.zarr").mkdir()
    (tmp_path / "a.zarr" / "zarr.json").touch()
    task = partial(extract_here, b"", 0, location=str(tmp_path / "a.zarr"), device="cpu", threads=1)
    asked = {**machine_here("cpu"), "torch": "0.1"}
    result = task(mark=None, machine=asked, mixed_machines=False)
    assert isinstance(result, Failure)
    assert isinstance(result.error, MachineMismatch)
    assert "torch: here 0.1" in str(result.error)
    asked = {**machine_here("cpu"), "processor": "AVX9"}
    result = task(mark=None, machine=asked, mixed_machines=False)
    assert isinstance(result, Failure)
    assert isinstance(result.error, MachineMismatch)
    assert task(mark=None, machine=asked, mixed_machines=True) == "extracted"
    result = task(mark=str(tmp_path / "gone"), machine=asked, mixed_machines=True)
    assert isinstance(result, Failure)
    assert isinstance(result.error, CacheMissing)


def test_the_mark_of_a_store_is_seen_while_it_is_needed_and_found_when_it_is_left(
    tmp_path: Path,
) -> None:
    store = tmp_path / "a.zarr"
    store.mkdir()
    (store / "zarr.json").touch()
    with shared_mark(store) as mark:
        assert mark is not None
        assert sees_store(store, mark)
        assert find_leftovers(tmp_path) == []
    assert not sees_store(store, mark)
    assert [path.name for path in tmp_path.iterdir()] == ["a.zarr"]
    Path(mark).mkdir()  # as a killed command leaves it
    assert [left.path for left in find_leftovers(tmp_path)] == [Path(mark)]
    with pytest.raises(CacheMissing, match="worker w does not see"):
        refuse_unshared(store, "worker w", seen=sees_store(tmp_path / "b.zarr", mark))


def test_a_store_behind_a_url_needs_no_mark() -> None:
    with shared_mark("s3://bucket/a.zarr") as mark:
        assert mark is None


def test_each_worker_gets_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)

    def gpus(number: int, visible: str | None) -> list[str]:
        return [
            each["CUDA_VISIBLE_DEVICES"] for each in worker_environments(number, "cuda", visible)
        ]

    assert gpus(3, None) == ["0", "1", "2"]
    assert gpus(4, None) == ["0", "1", "2", "0"]
    assert gpus(3, "2,5") == ["2", "5", "2"]
    assert worker_environments(2, "cuda:1", "0,1") == [{}, {}]
    assert worker_environments(2, "cpu", None) == [{}, {}]


def test_automatic_workers_are_one_for_each_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 4)
    assert num_workers(load_config(device="cuda"), 1000) == 4
    assert num_workers(load_config(device="cuda:1"), 1000) == 1


def test_workers_of_a_cluster_that_share_a_gpu_are_named() -> None:
    def answers(visible: list[str | None], num_gpus: int) -> dict[str, WorkerAnswer]:
        return {
            f"tcp://a:{port}": WorkerAnswer("a", {}, num_gpus, each)
            for port, each in enumerate(visible)
        }

    assert shared_gpus(answers(["0", "1"], 1)) == []
    assert shared_gpus(answers([None], 2)) == []
    assert shared_gpus(answers([None, None], 1)) == []  # there is no other one
    (warning,) = shared_gpus(answers([None, None, "1"], 2))
    assert "2 workers on a see the same GPUs" in warning
    assert "CUDA_VISIBLE_DEVICES" in warning


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


def test_neither_pictures_nor_weights_go_through_the_scheduler() -> None:
    request = extract_request(load_config(dataset="synthetic"), "/store.zarr")
    assert len(pickle.dumps(request)) < 4_000
    assert len(pickle.dumps(ChunkResult(7, 64, True, {"missing": 3}))) < 400


INTERRUPTED = """
import os, signal, sys
from pipeline.interruption import Interruption
with Interruption("the running chunk") as interruption:
    os.kill(os.getpid(), signal.SIGTERM)
    print(interruption.requested(), interruption.signal_number, flush=True)
    os.kill(os.getpid(), int(sys.argv[1]))
    print("still there", flush=True)
"""


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_at_once(second: signal.Signals) -> None:
    words = [sys.executable, "-c", INTERRUPTED, str(int(second))]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "True 15\n"
    assert "the running chunk is finished first; once more to leave at once" in done.stderr
    assert done.returncode == 128 + second


def test_progress_tells_rate_workers_and_time_left() -> None:
    written = StringIO()
    screen = Console(file=written, width=160)
    progress = ExtractProgress(50, 150, 5.0, chunks_done=1, num_chunks=3, workers=2)
    with Meter(screen) as meter:
        rate = _Rate(meter, screen)
        rate.show(progress)
    assert rate.rows_per_s == 10
    text = written.getvalue()
    assert "33 %  chunk 1 of 3    10.0 frames/s  2 workers  ETA    0:10" in text
    assert ExtractProgress(0, 150, 5.0).seconds_left is None
