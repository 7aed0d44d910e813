"""What is said about a store in JSON beside it: what was asked for, how it was made."""

from __future__ import annotations

import json
from typing import Any, Literal

from cache.storage import Location, open_storage
from pipeline.errors import PipelineError, UnwritableTarget

Note = Literal["request", "provenance"]
"""`NAME.request.json`: what was asked for, once the store is complete. `NAME.provenance.json`: who
made it, when, how fast, and where its pictures are."""


def read_note(store: Location, note: Note) -> dict[str, Any] | None:
    """Return the note, None if there is none; raises PipelineError for anything but JSON."""
    storage = open_storage(store)
    try:
        content: dict[str, Any] = json.loads(storage.read_beside(_suffix(note)))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{storage.location}: the {note} beside it cannot be read as JSON ({error}). Delete it."
        ) from error
    return content


def write_note(store: Location, note: Note, content: dict[str, Any]) -> None:
    """Write the note whole or not at all; raises UnwritableTarget."""
    storage = open_storage(store)
    text = json.dumps(content, indent=2, allow_nan=False) + "\n"
    try:
        storage.write_beside(_suffix(note), text.encode())
    except OSError as error:
        raise UnwritableTarget(
            f"{storage.location}: the {note} beside it cannot be written "
            f"({error.strerror or error}). Mend that and run again."
        ) from error


def dataset_note(store: Location) -> dict[str, Any] | None:
    """Return name, options and, if known, root of the dataset that a store was extracted from.

    None where no note beside it says.
    """
    notes: tuple[Note, ...] = ("provenance", "request")
    for note in notes:
        known: dict[str, Any] | None = (read_note(store, note) or {}).get("dataset")
        if known is not None:
            return known
    return None


def _suffix(note: Note) -> str:
    return f".{note}.json"
