"""Batches on their way to a GPU while the one before is in use."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch

from stages.lift.feed.batch import Batch


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yields the batches on `device`, in order; on the CPU, the batches themselves.

    On a GPU each batch is copied in a queue of its own while the lifter works on the one before it;
    the lifter's queue waits for the copy, the host for neither. Batches should lie in page-locked
    memory. One batch more than the lifter uses is on the device.
    """
    if device.type != "cuda":
        yield from batches
        return
    copies = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: tuple[Batch, torch.cuda.Event] | None = None
    for batch in batches:
        # However far ahead the host is: a copy runs beside one step, not before many.
        copies.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(copies):
            copied = batch.to(device)
            arrived = copies.record_event()
        if waiting is not None:
            yield _arrived(*waiting, device)
        waiting = (copied, arrived)
    if waiting is not None:
        yield _arrived(*waiting, device)


def _arrived(batch: Batch, arrival: torch.cuda.Event, device: torch.device) -> Batch:
    queue = torch.cuda.current_stream(device)
    queue.wait_event(arrival)
    for tensor in batch.tensors():
        # Freed by the host while a kernel still reads it, memory of another queue would be given
        # away too early.
        tensor.record_stream(queue)
    return batch
