"""What it saved that runs share stores, from recorded times only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.stores.notes import read_note


def extraction_seconds(store: str) -> float | None:
    """Return how long the extraction of a store took; None where nothing beside it says.

    Of an extraction that was stopped and went on, the note beside the store has the last part.
    """
    seconds = (read_note(store, "provenance") or {}).get("seconds", {}).get("extract")
    return None if seconds is None else float(seconds)


def savings(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how many runs read each store, what its extraction took, and what that saved.

    Without a store, every run that reads a detector's joints or maps would extract for itself, once
    at least; runs that read labelled joints alone need none and are not counted. `saved_s` is None
    where the time of an extraction is not known.
    """
    runs: dict[str, set[str]] = {}
    for row in rows:
        members = runs.setdefault(row["store"], set())
        if row["keypoint_source"] == "gt" and row["feature_source"] == "-":
            continue
        tried = [one["run_dir"] for one in row["tuning"]]
        members.update(tried, (run["run_dir"] for run in row["runs"]))
    times = {store: extraction_seconds(store) for store in runs}
    known = None not in times.values()
    each = sum(len(members) * (times[store] or 0.0) for store, members in runs.items())
    spent = sum(seconds or 0.0 for seconds in times.values())
    return {
        "stores": {
            store: {"num_runs": len(members), "extract_s": times[store]}
            for store, members in runs.items()
        },
        "num_runs": sum(map(len, runs.values())),
        "each_time_s": each if known else None,
        "spent_s": spent if known else None,
        "saved_s": each - spent if known else None,
    }


def savings_text(found: Mapping[str, Any]) -> str:
    """Return the savings in one line."""
    stores = found["stores"]
    extractions = "1 extraction" if len(stores) == 1 else f"{len(stores)} extractions"
    text = f"{found['num_runs']} runs from {extractions}"
    if found["saved_s"] is None:
        unknown = [Path(name).name for name, one in stores.items() if one["extract_s"] is None]
        return f"{text}; the time of extracting {', '.join(unknown)} is not recorded beside it."
    sums = " + ".join(f"{one['num_runs']} x {one['extract_s']:.0f} s" for one in stores.values())
    return (
        f"{text}: one for each run would have taken {sums} = {found['each_time_s']:,.0f} s instead "
        f"of {found['spent_s']:,.0f} s ({found['saved_s']:,.0f} s saved)."
    )
