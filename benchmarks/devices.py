"""Devices as result files name them, and what they can do."""

from __future__ import annotations

import re
from pathlib import Path

import torch

BFLOAT16_FLAGS = ("amx_bf16", "avx512_bf16", "bf16")
"""Flags of processors (x86 and ARM) with bfloat16 arithmetic."""


def device_name(device: torch.device) -> str:
    """Returns `cpu`, or the name of the GPU in small letters, e.g. `nvidia-h200`."""
    if device.type != "cuda":
        return device.type
    name = torch.cuda.get_device_name(device).lower()
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-")


def bfloat16_is_fast(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Returns whether the processor has bfloat16 arithmetic; False where that cannot be told."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return False
    # x86 and ARM call them differently; all cores are alike.
    names = ("flags", "features")
    found = (line.partition(":")[2].split() for line in lines if line.lower().startswith(names))
    return not set(BFLOAT16_FLAGS).isdisjoint(next(found, []))
