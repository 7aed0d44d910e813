"""Dask clusters to extract on: processes of this machine, or whatever answers at an address."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import dask
from distributed import Client, Nanny, Scheduler, SpecCluster, WorkerPlugin

from pipeline.extraction.portable import SchedulerError, portable

ALLOWED_FAILURES = 3
"""Workers that may die over one chunk before it, and not the machine, is to blame."""
_CONNECT_S = 20
_THREADS_PER_GPU_WORKER = 2  # one chunk is loaded and written while the other one is on the GPU


class _KeepWorking(WorkerPlugin):  # type: ignore[misc]
    """Workers of this command ignore the signals of its process group; the command ends them."""

    def setup(self, worker: object) -> None:  # noqa: ARG002
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def local_client(num_workers: int, device: str, threads: int) -> Iterator[Client]:
    """Client of new processes on this machine, reachable from this machine only.

    Args:
        num_workers: processes.
        device: torch device of the detector; with `cuda`, each process has one GPU.
        threads: torch threads of each.
    """
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
    options = {
        **local,
        "port": 0,
        "dashboard": importlib.util.find_spec("bokeh") is not None,  # draws Dask's dashboard
        "dashboard_address": "127.0.0.1:0",
    }
    with (
        dask.config.set(settings),
        SpecCluster(
            workers=workers,
            scheduler={"cls": Scheduler, "options": options},
            silence_logs=logging.ERROR,
        ) as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.register_plugin(_KeepWorking(), name="posecache-signals")
        yield client


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
def remote_client(address: str) -> Iterator[Client]:
    """Client of a cluster that runs already; raises SchedulerError where none answers."""
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


def dashboard_link(client: Client) -> str | None:
    """Return the address of the cluster's dashboard, None if it has none."""
    if not client.run_on_scheduler(portable(_draws_dashboard)):
        return None
    link: str = client.dashboard_link
    return link


def _draws_dashboard() -> bool:
    # A scheduler without bokeh, or told to draw nothing, names an address too.
    return "distributed.dashboard.scheduler" in sys.modules
