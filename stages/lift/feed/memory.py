"""How much memory is left, on the host and on a torch device."""

from __future__ import annotations

import os
from pathlib import Path

import torch

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def available_host_bytes() -> int:
    """Bytes that can be taken without swapping, also inside a container with a limit."""
    try:
        fields = dict(line.split(":", 1) for line in _MEMINFO.read_text().splitlines())
        free = int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        free = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
    limit = _container_bytes()
    return free if limit is None else min(free, limit)


def free_device_bytes(device: torch.device) -> int:
    """Bytes that tensors can still take on a CUDA device."""
    free, _ = torch.cuda.mem_get_info(device)
    # What torch keeps for tensors to come counts as free.
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(free + kept)


def _container_bytes() -> int | None:
    """Bytes left to the container; None where there is no limit or no control group."""
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        details = dict(line.split() for line in (_CGROUP / "memory.stat").read_text().splitlines())
        # Pages of files count as used, but are given back on demand.
        return None if limit == "max" else int(limit) - used + int(details["inactive_file"])
    except (OSError, KeyError, ValueError):
        return None
