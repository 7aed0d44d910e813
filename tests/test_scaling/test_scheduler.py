"""Extraction on real Dask workers: killed ones, failing ones, two processes joined over TCP."""

from __future__ import annotations

import re
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import pytest

from cache import CacheMissing, CacheWriter
from pipeline.errors import exit_code
from pipeline.extraction import clusters, inspection, scheduler
from pipeline.extraction.machines import MachineMismatch, machine_here
from pipeline.extraction.portable import SchedulerError
from stages.extract.attempts import TRIES, ChunksFailed
from stages.extract.chunks import ExtractProgress, extract
from stages.extract.datasets import FrameError
from stages.extract.datasets.human36m.mmpose import Human36m
from tests.test_cache.factory import store_bytes
from tests.test_scaling.clusters import (
    CONFIG,
    CROP,
    BreaksAtRow,
    CountsThreads,
    KillsItsReader,
    NotesItsReads,
    distribute,
)

# Sockets and pipes of a cluster that is closed with killed workers are left to the collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def committed(store: Path) -> list[Path]:
    return list((store / "commit").glob("c*"))


@pytest.mark.slow
def test_a_worker_killed_in_the_middle_costs_only_its_chunk(
    layout: Path, tmp_path: Path, serial: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the command itself wrote a chunk")

    monkeypatch.setattr(CacheWriter, "write_chunk", refuse)  # not in the workers
    marks, seen = tmp_path / "marks", list[ExtractProgress]()
    dataset = partial(KillsItsReader, layout, marks, 1)
    summary = distribute(dataset, tmp_path / "a.zarr", seen=seen)
    assert NotesItsReads.rows_read(marks) == [0, 1, 2, 3, 4, 4, 5, 6, 7, 8]
    assert summary.chunks_missing == 0
    assert store_bytes(tmp_path / "a.zarr") == serial
    assert (seen[-1].rows_done, seen[-1].chunks_done, seen[-1].num_chunks) == (9, 9, 9)
    assert seen[-1].workers in (1, 2)


@pytest.mark.slow
def test_processes_joined_over_tcp_write_the_same_bytes(
    layout: Path, tmp_path: Path, serial: dict[str, bytes], cluster: str
) -> None:
    config = CONFIG.model_copy(update={"scheduler": cluster})
    stopped = distribute(partial(Human36m, layout), tmp_path / "a.zarr", config, stop_after=3)
    assert stopped.chunks_done in (3, 4)
    assert stopped.chunks_missing == 9 - stopped.chunks_done
    marks = tmp_path / "marks"
    again = distribute(partial(BreaksAtRow, layout, marks, TRIES - 1), tmp_path / "a.zarr", config)
    assert again.chunks_missing == 0
    assert NotesItsReads.rows_read(marks).count(4) == TRIES
    assert store_bytes(tmp_path / "a.zarr") == serial


@pytest.mark.slow
def test_a_chunk_that_fails_at_every_try_is_named_and_the_next_call_does_only_that(
    layout: Path, tmp_path: Path, serial: dict[str, bytes], cluster: str
) -> None:
    config = CONFIG.model_copy(update={"scheduler": cluster})
    broken = partial(BreaksAtRow, layout, tmp_path / "broken", 99)
    with pytest.raises(ChunksFailed, match="All other chunks are committed") as caught:
        distribute(broken, tmp_path / "a.zarr", config)
    assert "chunk 4 (rows 4-4): ConnectionResetError: planted" in str(caught.value)
    assert exit_code(caught.value) == 3
    assert len(committed(tmp_path / "a.zarr")) == 8
    mended = partial(NotesItsReads, layout, tmp_path / "mended")
    summary = distribute(mended, tmp_path / "a.zarr", config)
    assert (summary.chunks_done, summary.chunks_skipped) == (1, 8)
    assert NotesItsReads.rows_read(tmp_path / "mended") == [4]
    assert store_bytes(tmp_path / "a.zarr") == serial


@pytest.mark.slow
def test_a_chunk_that_kills_every_worker_is_named_and_costs_no_other(
    layout: Path, tmp_path: Path
) -> None:
    dataset = partial(KillsItsReader, layout, tmp_path / "marks", 99)
    with pytest.raises(ChunksFailed, match=r"chunk 4 \(rows 4-4\).* 4 workers died over it"):
        distribute(dataset, tmp_path / "a.zarr")
    assert len(committed(tmp_path / "a.zarr")) == 8


@pytest.mark.slow
def test_workers_have_the_recorded_number_of_threads_whatever_they_were_started_with(
    layout: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # A nanny starts its worker with one; this process has another number too.
    config = CONFIG.model_copy(update={"scheduler": cluster, "threads": 3, "shard_rows": 4})
    distribute(partial(Human36m, layout), tmp_path / "a.zarr", config, detector=CountsThreads)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    extract(Human36m(layout), CountsThreads(), CROP, tmp_path / "b.zarr", config)
    assert store_bytes(tmp_path / "a.zarr") == store_bytes(tmp_path / "b.zarr")


@pytest.mark.slow
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
    [
        ("numpy", "scheduler", "same versions"),
        ("posecache", "scheduler", "same versions"),
        # The only one for which a worker must have come.
        pytest.param("processor", "worker", "mixed_machines=true", marks=pytest.mark.slow),
    ],
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
    there = machine_here("cpu")[name]
    monkeypatch.setattr(inspection, "machine_here", lambda _device: here)
    config = CONFIG.model_copy(update={"scheduler": cluster})
    expected = f"{where} tcp.*{name}: here planted, there {there}.*{advice}"
    with pytest.raises(MachineMismatch, match=expected):
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)
    assert committed(tmp_path / "a.zarr") == []


def test_a_worker_that_sees_another_disk_is_refused_before_any_task(
    layout: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = nullcontext(str(tmp_path / "on another disk"))
    monkeypatch.setattr(scheduler, "shared_mark", lambda _location: elsewhere)
    config = CONFIG.model_copy(update={"scheduler": cluster})
    with pytest.raises(CacheMissing, match=r"a\.zarr: the worker tcp.* does not see this store"):
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)
    assert committed(tmp_path / "a.zarr") == []


def test_an_address_where_nobody_answers_says_what_to_start(
    layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipeline.extraction.clusters._CONNECT_S", 0.5)
    config = CONFIG.model_copy(update={"scheduler": "tcp://127.0.0.1:1"})
    with pytest.raises(SchedulerError, match="dask scheduler"):
        distribute(partial(Human36m, layout), tmp_path / "a.zarr", config)


def test_warnings_and_the_dashboard_are_said(
    layout: Path, tmp_path: Path, cluster: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = CONFIG.model_copy(update={"scheduler": cluster})
    said = list[str]()
    run = partial(distribute, partial(Human36m, layout), tmp_path / "a.zarr", config)
    run(say=said.append, seen=[ExtractProgress(0, 9, 0.0)], stop_after=0)
    assert said == []  # the scheduler of this test draws none
    monkeypatch.setattr(scheduler, "refuse_unfit", lambda *_, **__: ["two share a GPU"])
    monkeypatch.setattr(clusters, "_draws_dashboard", _yes)
    run(say=said.append, seen=[ExtractProgress(0, 9, 0.0)], stop_after=0)
    assert committed(tmp_path / "a.zarr") == []
    assert said[0] == "two share a GPU"
    assert re.fullmatch(r"dashboard of the workers: http://127\.0\.0\.1:\d+/status", said[1])
    assert len(said) == 2


def _yes() -> bool:
    return True
