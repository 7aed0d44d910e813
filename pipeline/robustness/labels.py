"""What runs are called where there is little room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from pipeline.robustness.degradations import Variant


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


def frames_label(entry: Mapping[str, Any]) -> str:
    """Return what frames a result is of, and of how many where some could not be used."""
    label = Variant(entry["degradation"], float(entry["strength"])).label
    left, lost = entry["num_frames"], len(entry["lost_rows"])
    return f"{label} ({left} of {left + lost})" if lost else label


def lost_note(result: Mapping[str, Any]) -> str | None:
    """Return what has to be said where strengths are of other frames; None where none are."""
    if not any(entry["lost_rows"] for entry in result["results"]):
        return None
    return (
        "Frames in brackets could be used at that strength; errors and differences are of these,"
        " and so is growth at both of its ends. The files say which were lost."
    )


def _lifter(run: Mapping[str, Any]) -> str:
    kinds = {"shuffled": ", maps of other frames"}
    return str(run["lifter"]) + kinds.get(run["context"], "")
