"""A cluster before its first task: is every process like this one, and does it see the store."""

from __future__ import annotations

import os
import socket
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

from distributed import Client

from pipeline.extraction.machines import Machine, machine_here, refuse_other_machine, versions_here
from pipeline.extraction.portable import SchedulerError, not_importable, portable
from pipeline.extraction.sharing import refuse_unshared, sees_store


class WorkerAnswer(NamedTuple):
    """What a worker says of itself."""

    host: str
    machine: Machine
    num_gpus: int
    """GPUs that it sees; 0 where the detector runs elsewhere."""
    visible_gpus: str | None
    """Its `CUDA_VISIBLE_DEVICES`."""


def refuse_unfit(
    client: Client, device: str, location: str, mark: str | None, *, mixed_machines: bool
) -> list[str]:
    """Look at the scheduler and at every worker there is; nothing has been extracted yet.

    Args:
        client: of the cluster.
        device: torch device of the detector.
        location: absolute folder or URL of the store.
        mark: see `pipeline.extraction.sharing`.
        mixed_machines: another processor or GPU is allowed.

    Returns:
        What is worth saying, although it stops nothing.

    Raises:
        MachineMismatch: a process has other versions, or a worker another processor.
        SchedulerError: a process cannot import this package, or does not answer.
        CacheMissing: a worker does not see the store.
    """
    here = machine_here(device)
    scheduler = f"the scheduler {client.scheduler.address}"
    try:
        found = client.run_on_scheduler(portable(versions_here))
    except ImportError as error:
        raise not_importable(scheduler, error) from error
    refuse_other_machine(here, found, where=scheduler)
    answers: Mapping[str, Any] = client.run(portable(_answer, device), on_error="return")
    for address, answer in answers.items():
        _refuse_error(f"the worker {address}", answer)
        where = f"the worker {address} on {answer.host}"
        refuse_other_machine(here, answer.machine, where=where, mixed_machines=mixed_machines)
    # Second: a process with other versions may not even know how to look.
    seen: Mapping[str, Any] = client.run(portable(sees_store, location, mark), on_error="return")
    for address, answer in seen.items():
        _refuse_error(f"the worker {address}", answer)
        refuse_unshared(location, f"the worker {address}", seen=answer)
    return shared_gpus(answers)


def shared_gpus(answers: Mapping[str, WorkerAnswer]) -> list[str]:
    """Return a warning for each set of workers that would all use the first of several GPUs."""
    alike: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for address, answer in answers.items():
        if answer.num_gpus > 1:
            alike[answer.host, answer.visible_gpus].append(address)
    return [
        f"{len(addresses)} workers on {host} see the same GPUs and share the first one. Start each "
        "with a CUDA_VISIBLE_DEVICES of its own."
        for (host, _), addresses in alike.items()
        if len(addresses) > 1
    ]


def _refuse_error(who: str, answer: object) -> None:
    if isinstance(answer, ImportError):
        raise not_importable(who, answer) from answer
    if isinstance(answer, Exception):
        raise SchedulerError(f"{who} does not answer: {answer}") from answer


def _answer(device: str) -> WorkerAnswer:
    num_gpus = 0
    if device == "cuda":
        import torch

        num_gpus = torch.cuda.device_count()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return WorkerAnswer(socket.gethostname(), machine_here(device), num_gpus, visible)
