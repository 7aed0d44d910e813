"""The index of experiments as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.run_settings import told_apart
from pipeline.table_style import new_table

_COLUMNS = {
    "name": "run",
    "lifter": "lifter",
    "store": "store",
    "keypoints": "keypoints",
    "context": "context",
    "num_frames": "frames",
    "seed": "seed",
    "settings": "settings that differ",
    "steps": "steps",
    "validation_mpjpe_mm": "val\nMPJPE",
    "test_mpjpe_mm": "test\nMPJPE",
    "test_p_mpjpe_mm": "test\nP-MPJPE",
    "parameters": "parameters",
    "minutes": "min",
    "wait_percent": "wait %",
    "finished": "finished",
    "revision": "revision",
}
_WORDS = ("name", "lifter", "store", "keypoints", "context", "settings", "finished", "revision")
_SHARED = ("lifter", "store", "keypoints", "context", "num_frames", "revision")
_REVISION_LETTERS = 7


def index_table(entries: Sequence[Mapping[str, Any]]) -> Table:
    """Return one line per run; what all runs have in common is said once, above.

    Notes, and what is wrong with a folder, are below.
    """
    entries = [
        {**entry, "settings": words or None}
        for entry, words in zip(
            entries, told_apart([entry["settings"] for entry in entries]), strict=True
        )
    ]
    shared = {
        key: entries[0][key]
        for key in _SHARED
        if len(entries) > 1 and len({entry[key] for entry in entries}) == 1
    }
    common = ", ".join(f"{_COLUMNS[key]} {_text(key, value)}" for key, value in shared.items())
    number = "1 run" if len(entries) == 1 else f"{len(entries)} runs"
    title = f"{number}, errors in mm" + (f"; all: {common}" if common else "")
    notes: dict[str, list[str]] = {}
    for entry in entries:
        if entry["notes"]:
            notes.setdefault(str(entry["notes"]), []).append(str(entry["name"]))
    said = "\n".join(f"{', '.join(names)}: {note}" for note, names in notes.items())
    table = new_table(title=title, notes=said)
    hidden = {*shared, *(["store"] if all(map(_names_its_store, entries)) else [])}
    if not any(entry["settings"] for entry in entries):
        hidden.add("settings")
    columns = [key for key in _COLUMNS if key not in hidden]
    for key in columns:
        justify = "left" if key in _WORDS else "right"
        table.add_column(_COLUMNS[key], justify=justify, overflow="fold")  # type: ignore[arg-type]
    for entry in entries:
        style = {"unfinished": "yellow", "broken": "red"}.get(entry["state"])
        table.add_row(*(_cell(key, entry) for key in columns), style=style)
    return table


def _names_its_store(entry: Mapping[str, Any]) -> bool:
    store = str(entry["store"] or "").removesuffix(".zarr")
    return str(entry["name"]).rpartition("/")[2].startswith(f"{store}-")


def _cell(key: str, entry: Mapping[str, Any]) -> str:
    if key == "finished" and entry["state"] != "finished":
        return str(entry["state"])
    return _text(key, entry[key])


def _text(key: str, value: Any) -> str:
    if value is None:
        return "-"
    if key == "finished":
        return str(value)[:16].replace("T", " ")
    if key == "revision":
        dirty = "*" if str(value).endswith("-dirty") else ""
        return str(value)[:_REVISION_LETTERS] + dirty
    if key == "parameters":
        return f"{value:,}"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
