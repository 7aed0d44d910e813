"""Chunks of an extraction on Dask workers: of this machine, or of any cluster that runs already.

One task is one chunk: it owns all of the chunk's files, looks first whether they are committed, and
can be repeated anywhere at any time. Nothing is locked. Workers read the pictures and write the
store themselves; only names and counts go through the scheduler.
"""

from __future__ import annotations

import pickle
import queue
import socket
import time
import uuid
from collections import Counter
from collections.abc import Callable
from concurrent.futures import CancelledError
from dataclasses import dataclass

from distributed import Client, Future
from distributed.scheduler import KilledWorker

from pipeline.errors import PipelineError
from pipeline.extraction.clusters import (
    ALLOWED_FAILURES,
    dashboard_link,
    local_client,
    remote_client,
)
from pipeline.extraction.inspection import refuse_unfit
from pipeline.extraction.machines import Machine, machine_here, refuse_other_machine
from pipeline.extraction.portable import SchedulerError, not_importable, portable
from pipeline.extraction.sharing import refuse_unshared, sees_store, shared_mark
from stages.extract.attempts import TRIES, Attempts, is_foreseen
from stages.extract.extraction import ExtractProgress, ExtractSummary
from stages.extract.jobs import Job
from stages.extract.tasks import ChunkResult, ExtractRequest, extract_chunk

_HEARTBEAT_S = 0.5


@dataclass(frozen=True)
class Failure:
    """An error that no other try would escape, as the result of a task."""

    error: Exception


def fill_with_dask(
    job: Job,
    request: ExtractRequest,
    *,
    num_workers: int,
    device: str,
    progress: Callable[[ExtractProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
    say: Callable[[str], None] | None = None,
) -> ExtractSummary:
    """Do an open job on Dask workers, and return what was done; same bytes as in one process.

    Args:
        job: the store and its chunks to do.
        request: what a worker needs.
        num_workers: processes on this machine; not used if the request's config has a scheduler.
        device: torch device of the detector.
        progress: called with every chunk, and every half second.
        stop: when it returns True, running chunks are finished and no other is begun.
        say: called with lines about the cluster, e.g. where its dashboard is.

    Raises:
        SchedulerError: the cluster does not answer, or its workers cannot import this package.
        MachineMismatch: the scheduler or a worker has other versions, or a worker another
            processor.
        CacheMissing: a worker does not see the store.
        ChunksFailed: chunks failed at every try, or killed their workers; all others were done.
        Exception: what a chunk's task raised, where no other chunk would escape it.
    """
    if not job.todo:
        return job.summary(0, {})
    config = request.config
    connected = (
        local_client(num_workers, device, config.threads)
        if config.scheduler is None
        else remote_client(config.scheduler)
    )
    with shared_mark(request.location) as mark, connected as client:
        notes = refuse_unfit(
            client, device, request.location, mark, mixed_machines=config.mixed_machines
        )
        link = dashboard_link(client)
        for note in [*notes, *([] if link is None else [f"dashboard of the workers: {link}"])]:
            if say is not None:
                say(note)
        task = portable(
            extract_here,
            pickle.dumps(request),
            location=request.location,
            mark=mark,
            machine=machine_here(device),
            device=device,
            threads=config.threads,
            mixed_machines=config.mixed_machines,
        )
        return _run(client, task, job, progress, stop or (lambda: False))


def extract_here(
    request: bytes,
    chunk: int,
    *,
    location: str,
    mark: str | None,
    machine: Machine,
    device: str,
    threads: int,
    mixed_machines: bool,
) -> ChunkResult | Failure:
    """Task of a worker. Each one looks again at its machine: workers may join at any time."""
    import torch

    try:
        refuse_other_machine(machine, machine_here(device), mixed_machines=mixed_machines)
        worker = f"a worker on {socket.gethostname()}"
        refuse_unshared(location, worker, seen=sees_store(location, mark))
        # A nanny starts its worker with OMP_NUM_THREADS=1; the number decides float words.
        torch.set_num_threads(threads)
        return extract_chunk(request, chunk)
    except Exception as error:
        if isinstance(error, PipelineError) or is_foreseen(error):
            return Failure(error)
        raise


def _run(
    client: Client,
    task: Callable[[int], ChunkResult | Failure],
    job: Job,
    progress: Callable[[ExtractProgress], None] | None,
    stop: Callable[[], bool],
) -> ExtractSummary:
    token = uuid.uuid4().hex[:8]
    attempts = Attempts(job.todo)
    running: dict[Future, int] = {}
    ended: queue.SimpleQueue[Future] = queue.SimpleQueue()
    reasons: Counter[str] = Counter()
    rows_done = chunks_done = chunks_written = num_tries = 0
    try:
        while running or (attempts.waiting and not stop()):
            slots = client.nthreads()
            # As many as there are threads: 100,000 chunks are never 100,000 futures, and nothing
            # lies queued that a signal would have to take back.
            while attempts.waiting and len(running) < sum(slots.values()) and not stop():
                chunk = attempts.take()
                num_tries += 1
                future = client.submit(
                    task, chunk, key=f"extract-{token}-{chunk}-{num_tries}", pure=False
                )
                running[future] = chunk
                future.add_done_callback(ended.put)
            try:
                future = ended.get(timeout=_HEARTBEAT_S)
            except queue.Empty:
                future = None
            if future is not None:
                result = _result(client, future, running.pop(future), attempts)
                if result is not None:
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
    summary = job.summary(chunks_written, reasons)
    if not stop():
        attempts.refuse_failures(summary.location, job.writer.chunk_rows, job.left())
    return summary


def _result(client: Client, future: Future, chunk: int, attempts: Attempts) -> ChunkResult | None:
    """What became of a chunk, None if its try failed."""
    try:
        result: ChunkResult | Failure = future.result()
    except KilledWorker as error:
        died = SchedulerError(
            f"{ALLOWED_FAILURES + 1} workers died over it. They may lack memory: use fewer workers"
        )
        died.__cause__ = error
        attempts.failed(chunk, died, tries=TRIES)
        return None
    except ImportError as error:
        raise not_importable("a worker", error) from error
    except CancelledError as error:
        raise SchedulerError(
            f"{client.scheduler.address}: the scheduler has gone. Committed chunks are safe; when "
            "there is one again, the same command goes on"
        ) from error
    except Exception as error:
        attempts.failed(chunk, error)
        return None
    if isinstance(result, Failure):
        raise result.error
    attempts.succeeded(chunk)
    return result
