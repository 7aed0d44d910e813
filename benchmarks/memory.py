"""Peak memory of a call: what torch allocates during it, above what was live when it began."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch.profiler import ProfilerActivity, profile

MEMORY_EVENT = "[memory]"


def peak_bytes(call: Callable[[], object], device: torch.device) -> int:
    """Returns the most bytes of tensors that were live at one moment of the call.

    Counted from what was live before. On the CPU every allocation and release of the calling thread
    is added up, in the order of time, so that caches of the allocator and other processes play no
    part; memory that a library takes without torch is not seen. On a GPU torch counts by itself.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        call()
    return highest(allocations(profiled))


def allocations(profiled: profile) -> list[int]:
    """Returns the bytes of every allocation, negative ones of every release, as they happened."""
    # The public averages add a tensor's release to the operator that caused it and lose the order.
    assert profiled.profiler is not None
    events = profiled.profiler.kineto_results.events()
    found = [event for event in events if event.name() == MEMORY_EVENT]
    return [event.nbytes() for event in sorted(found, key=lambda event: event.start_ns())]


def highest(changes: Iterable[int]) -> int:
    """Returns the highest level that the changes, one after the other, lead to; at least 0."""
    level = top = 0
    for change in changes:
        level += change
        top = max(top, level)
    return top
