"""The index of experiments as a table for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from pipeline.runs.settings import told_apart
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
_MISSED_LEAST = (
    "revision",
    "parameters",
    "wait_percent",
    "minutes",
    "steps",
    "num_frames",
    "store",
    "seed",
    "lifter",  # this and the seed are in the names of runs
    "finished",
    "context",
    "keypoints",
    "settings",
    "test_p_mpjpe_mm",
    "validation_mpjpe_mm",
)
"""Columns in the order in which a narrow terminal loses them."""
_FOLDED_FROM = 24
_FRAME = 3
"""Letters around the text of a column: two of padding, one of the frame."""


def index_table(entries: Sequence[Mapping[str, Any]], width: int | None = None) -> Table:
    """Return one line per run; what all runs have in common is said once, above.

    Notes, and what is wrong with a folder, are below.

    Args:
        entries: of the index.
        width: of the terminal, in letters; columns that do not fit are left out, and named below.
            None shows all.
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
    said = [f"{', '.join(names)}: {note}" for note, names in notes.items()]
    hidden = {*shared, *(["store"] if all(map(_names_its_store, entries)) else [])}
    if not any(entry["settings"] for entry in entries):
        hidden.add("settings")
    columns = [key for key in _COLUMNS if key not in hidden]
    shown = columns if width is None else _fitting(columns, entries, width)
    if left_out := [" ".join(_COLUMNS[key].split()) for key in columns if key not in shown]:
        said.append(f"no room for: {', '.join(left_out)}")
    columns = shown
    table = new_table(title=title, notes="\n".join(said))
    for key in columns:
        justify = "left" if key in _WORDS else "right"
        table.add_column(_COLUMNS[key], justify=justify, overflow="fold")  # type: ignore[arg-type]
    for entry in entries:
        style = {"unfinished": "yellow", "broken": "red"}.get(entry["state"])
        table.add_row(*(_cell(key, entry) for key in columns), style=style)
    return table


def _fitting(columns: Sequence[str], entries: Sequence[Mapping[str, Any]], width: int) -> list[str]:
    """Return the columns that a terminal has room for, without those that are missed least."""
    shown = list(columns)

    def letters(key: str) -> int:
        texts = [*_COLUMNS[key].split("\n"), *(_cell(key, entry) for entry in entries)]
        longest = max(map(len, texts))
        return min(longest, _FOLDED_FROM) if key == "settings" else longest

    for key in _MISSED_LEAST:
        if sum(letters(one) + _FRAME for one in shown) < width:
            break
        if key in shown:
            shown.remove(key)
    return shown


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
