"""Chunks of an extraction on Dask workers: of this machine, or of any cluster that runs already.

The only file that speaks Dask. One task is one chunk: it owns all of the chunk's files, looks first
whether they are committed, and can be repeated anywhere at any time. Nothing is locked.
"""

from __future__ import annotations

import logging
import os
import pickle
import queue
import signal
import socket
import time
import uuid
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask
from distributed import Client, Future, Nanny, Scheduler, SpecCluster, WorkerPlugin
from distributed.scheduler import KilledWorker

from pipeline.errors import UNEXPECTED, PipelineError, exit_code
from pipeline.machines import (
    Machine,
    MachineMismatch,
    machine_here,
    refuse_other_machine,
    versions_here,
)
from stages.extract.extraction import ExtractProgress, ExtractSummary
from stages.extract.jobs import Job
from stages.extract.tasks import ChunkResult, ExtractRequest, extract_chunk

RETRIES = 3
"""Of a chunk whose task failed by something that nobody foresaw, e.g. a network disk."""
ALLOWED_FAILURES = 3
"""Workers that may die over one chunk before it, and not the machine, is to blame."""
_HEARTBEAT_S = 0.5
_CONNECT_S = 20
_THREADS_PER_GPU_WORKER = 2  # one chunk is loaded and written while the other one is on the GPU


class SchedulerError(PipelineError):
    """A cluster cannot be used: nobody answers, or its workers lack this package, or they die."""


@dataclass(frozen=True)
class _Failure:
    """An error that a task foresaw; as a result it is not tried again."""

    error: Exception


class _KeepWorking(WorkerPlugin):  # type: ignore[misc]
    """Workers of this command ignore the signals of its process group; the command ends them."""

    def setup(self, worker: object) -> None:  # noqa: ARG002
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


def fill_with_dask(
    job: Job,
    request: ExtractRequest,
    *,
    num_workers: int,
    device: str,
    progress: Callable[[ExtractProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ExtractSummary:
    """Do an open job on Dask workers, and return what was done; same bytes as in one process.

    Args:
        job: the store and its chunks to do.
        request: what a worker needs.
        num_workers: processes on this machine; not used if the request's config has a scheduler.
        device: torch device of the detector.
        progress: called with every chunk, and every half second.
        stop: when it returns True, running chunks are finished and no other is begun.

    Raises:
        SchedulerError: the cluster does not answer, its workers cannot import this package, or
            chunks kill them.
        MachineMismatch: a worker has other versions or another processor.
        Exception: what a chunk's task raised, as it would be in this process.
    """
    if not job.todo:
        return job.summary(0, {})
    with ExitStack() as stack:
        if request.config.scheduler is None:
            cluster = stack.enter_context(
                _local_cluster(num_workers, device, request.config.threads)
            )
            client = stack.enter_context(Client(cluster, set_as_default=False))
            client.register_plugin(_KeepWorking(), name="posecache-signals")
        else:
            client = stack.enter_context(_remote(request.config.scheduler))
        task = _portable(
            _extract,
            pickle.dumps(request),
            machine=machine_here(device),
            device=device,
            threads=request.config.threads,
            mixed_machines=request.config.mixed_machines,
        )
        _refuse_other_machines(client, device, mixed=request.config.mixed_machines)
        return _run(client, task, job, progress, stop or (lambda: False))


def _portable(function: Callable[..., Any], *arguments: Any, **options: Any) -> Callable[..., Any]:
    """Return `partial(function, ...)` that fails where it is called, not where it arrives.

    A worker that cannot import this package would otherwise die of the message that holds a task,
    without a word to the client.
    """
    content = pickle.dumps(partial(function, *arguments, **options))

    # An inner function travels as its code; it names nothing of this package.
    def call(*more: Any) -> Any:
        return pickle.loads(content)(*more)

    return call


def _extract(
    request: bytes,
    chunk: int,
    *,
    machine: Machine,
    device: str,
    threads: int,
    mixed_machines: bool,
) -> ChunkResult | _Failure:
    """Task of a worker. Each one compares the versions again: workers may join at any time."""
    import torch

    try:
        refuse_other_machine(machine, machine_here(device), mixed_machines=mixed_machines)
        # A nanny starts its worker with OMP_NUM_THREADS=1; the number decides float words.
        torch.set_num_threads(threads)
        return extract_chunk(request, chunk)
    except Exception as error:
        if exit_code(error) == UNEXPECTED:
            raise
        return _Failure(error)


def _run(
    client: Client,
    task: Callable[[int], ChunkResult | _Failure],
    job: Job,
    progress: Callable[[ExtractProgress], None] | None,
    stop: Callable[[], bool],
) -> ExtractSummary:
    token = uuid.uuid4().hex[:8]
    waiting = deque(job.todo)
    running: dict[Future, int] = {}
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    reasons: Counter[str] = Counter()
    rows_done = chunks_done = chunks_written = 0
    try:
        while running or (waiting and not stop()):
            slots = client.nthreads()
            # As many as there are threads: 100,000 chunks are never 100,000 futures, and nothing
            # lies queued that a signal would have to take back.
            while waiting and len(running) < sum(slots.values()) and not stop():
                chunk = waiting.popleft()
                key = f"extract-{token}-{chunk}"
                future = client.submit(task, chunk, key=key, pure=False, retries=RETRIES)
                running[future] = chunk
                future.add_done_callback(ended.put)
            try:
                future = ended.get(timeout=_HEARTBEAT_S)
            except queue.Empty:
                future = None
            if future is not None:
                result = _result(future, running.pop(future))
                rows_done += result.num_rows
                chunks_done += 1
                chunks_written += result.written
                reasons.update(result.invalid_by_reason)
            if progress is not None:
                seconds = time.perf_counter() - job.began
                progress(
                    ExtractProgress(
                        rows_done, job.num_rows, seconds, chunks_done, len(job.todo), len(slots)
                    )
                )
    finally:
        for future in running:
            future.cancel()
    return job.summary(chunks_written, reasons)


def _result(future: Future, chunk: int) -> ChunkResult:
    try:
        result: ChunkResult | _Failure = future.result()
    except KilledWorker as error:
        raise SchedulerError(
            f"chunk {chunk}: {ALLOWED_FAILURES + 1} workers died over it. They may lack memory: "
            "use fewer workers. Committed chunks are safe; the same command goes on"
        ) from error
    except ImportError as error:
        raise _not_importable("a worker", error) from error
    if isinstance(result, _Failure):
        raise result.error
    return result


@contextmanager
def _local_cluster(num_workers: int, device: str, threads: int) -> Iterator[SpecCluster]:
    """Processes on this machine, without a dashboard; reachable from this machine only."""
    per_worker = _THREADS_PER_GPU_WORKER if device.startswith("cuda") else 1
    settings = {
        "distributed.scheduler.allowed-failures": ALLOWED_FAILURES,
        "distributed.nanny.pre-spawn-environ": {
            name: str(threads)
            for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
        },
    }
    local = {"host": "127.0.0.1", "protocol": "tcp://"}
    workers = {
        number: {
            "cls": Nanny,
            "options": {
                **local,
                "nthreads": per_worker,
                # A worker holds a chunk or two; a limit could only pause or kill it.
                "memory_limit": 0,
                "silence_logs": logging.ERROR,
                "env": environment,
                "dashboard": False,
            },
        }
        for number, environment in enumerate(
            worker_environments(num_workers, device, os.environ.get("CUDA_VISIBLE_DEVICES"))
        )
    }
    scheduler = {"cls": Scheduler, "options": {**local, "port": 0, "dashboard": False}}
    with (
        dask.config.set(settings),
        SpecCluster(workers=workers, scheduler=scheduler, silence_logs=logging.ERROR) as cluster,
    ):
        yield cluster


def worker_environments(num_workers: int, device: str, visible: str | None) -> list[dict[str, str]]:
    """Return what to set for each worker: with `cuda`, one GPU each, in turn.

    Args:
        num_workers: processes.
        device: torch device of the detector; one with a number is left as it is.
        visible: `CUDA_VISIBLE_DEVICES` of this process, None for all GPUs.
    """
    if device != "cuda":
        return [{} for _ in range(num_workers)]
    if visible is not None:
        names = visible.split(",")
    else:
        import torch

        names = [str(number) for number in range(max(torch.cuda.device_count(), 1))]
    return [{"CUDA_VISIBLE_DEVICES": names[number % len(names)]} for number in range(num_workers)]


@contextmanager
def _remote(address: str) -> Iterator[Client]:
    try:
        client = Client(address, timeout=_CONNECT_S, set_as_default=False)
    except (OSError, ValueError) as error:
        raise SchedulerError(
            f"{address}: no Dask scheduler answers there ({error}). Start one with 'dask "
            "scheduler' and workers with 'dask worker ADDRESS', or let this command start "
            "processes: --workers N"
        ) from error
    with client:
        yield client


def _refuse_other_machines(client: Client, device: str, *, mixed: bool) -> None:
    here = machine_here(device)
    try:
        found = client.run_on_scheduler(_portable(versions_here))
    except ImportError as error:
        raise _not_importable(f"the scheduler {client.scheduler.address}", error) from error
    refuse_other_machine(here, found, where=f"the scheduler {client.scheduler.address}")
    answers: Mapping[str, Any] = client.run(_portable(_host_and_machine, device), on_error="return")
    for address, answer in answers.items():
        if isinstance(answer, ImportError):
            raise _not_importable(f"the worker {address}", answer) from answer
        if isinstance(answer, Exception):
            raise SchedulerError(f"the worker {address} does not answer: {answer}") from answer
        host, machine = answer
        where = f"the worker {address} on {host}"
        refuse_other_machine(here, machine, where=where, mixed_machines=mixed)


def _host_and_machine(device: str) -> tuple[str, dict[str, str | None]]:
    return socket.gethostname(), machine_here(device)


def _not_importable(who: str, error: ImportError) -> SchedulerError:
    return SchedulerError(
        f"{who} cannot import posecache ({error}). Install the same checkout there (make setup), "
        "or start it in the project's folder"
    )


__all__ = [
    "MachineMismatch",
    "SchedulerError",
    "fill_with_dask",
    "worker_environments",
]
