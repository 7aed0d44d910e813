"""What was found so far, a line per frame: survives a kill but for a half-written line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

Found = list[list[float]] | str
"""Boxes x1, y1, x2, y2, score of a frame, or why it cannot be read."""


class Journal:
    """Lines of json in a file; the first says what they belong to."""

    def __init__(self, path: Path, identity: Mapping[str, Any]) -> None:
        """Take over the lines of `path` if they belong to `identity`, else begin anew."""
        self._path = path
        self._header = json.dumps({"journal_of": dict(identity)}, sort_keys=True)
        self._found: dict[tuple[str, int], Found] = {}
        self._file: IO[str] | None = None

    def __enter__(self) -> Self:
        lines = self._whole_lines()
        if lines and lines[0] == self._header:
            for line in lines[1:]:
                source, frame, found = json.loads(line)
                self._found[source, frame] = found
        else:
            lines = [self._header]
        # Rewritten, because the last line may have been cut short.
        self._path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
        self._file = self._path.open("a", encoding="utf-8", buffering=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def has(self, source: str, frame: int) -> bool:
        """Whether the frame was looked at."""
        return (source, frame) in self._found

    def found(self, source: str, frame: int) -> Found:
        """Return what was found in a frame that was looked at."""
        return self._found[source, frame]

    def add(self, source: str, frame: int, found: Found) -> None:
        """Keep what was found in a frame."""
        assert self._file is not None, "used outside its context"
        self._found[source, frame] = found
        self._file.write(json.dumps([source, frame, found]) + "\n")

    def _whole_lines(self) -> list[str]:
        if not self._path.is_file():
            return []
        text = self._path.read_bytes().decode("utf-8", errors="replace")
        return text.split("\n")[:-1]  # what follows the last newline was cut short
