"""What runs are called where there is little room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any


def run_labels(result: Mapping[str, Any]) -> dict[str, str]:
    """Return a short name per run: its lifter, and as much more as tells it from the others."""
    runs = result["settings"]["runs"]
    names = {run["name"]: _lifter(run) for run in runs}
    seeds = {run["name"]: f" s{run['seed']}" for run in runs}
    ends = {run["name"]: f" {run['name'][-8:]}" for run in runs}
    for more in (seeds, ends):
        times = Counter(names.values())
        names = {
            name: label + (more[name] if times[label] > 1 else "") for name, label in names.items()
        }
    return names


def _lifter(run: Mapping[str, Any]) -> str:
    kinds = {"shuffled": ", maps of other frames"}
    return str(run["lifter"]) + kinds.get(run["context"], "")
