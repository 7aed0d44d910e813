"""What commands write to the screen while they work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 10.0
PLAIN_WIDTH = 160
"""Columns of a table that goes into a file or a pipe: wide enough that no number is cut."""


def console(*, quiet: bool = False) -> Console:
    """Return the console of the standard output; a quiet one shows nothing."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return Console(width=width, quiet=quiet, highlight=False, soft_wrap=False)


def print_json(content: Any) -> None:
    """Print `content` as JSON, the only output of a command with --json."""
    print(json.dumps(content, indent=2, allow_nan=False))


class Meter:
    """Progress of several named jobs, each from 0 to 1."""

    def __init__(self, screen: Console) -> None:
        self._screen = screen
        self._last_line_s = 0.0
        self._tasks: dict[str, TaskID] = {}
        self._bars: Progress | None = None
        if screen.is_terminal and not screen.quiet:
            self._bars = Progress(
                TextColumn("{task.description:<28}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f} %"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
                console=screen,
            )

    def __enter__(self) -> Meter:
        if self._bars:
            self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        if self._bars:
            self._bars.stop()

    def update(self, name: str, fraction: float, note: str = "") -> None:
        """Show that the job `name` is at `fraction`; plain output gets a line every ten seconds."""
        if self._bars:
            if name not in self._tasks:
                self._tasks[name] = self._bars.add_task(name, total=1.0, note=note)
            self._bars.update(self._tasks[name], completed=fraction, note=note)
            return
        now = time.monotonic()
        if now - self._last_line_s >= _LINE_EVERY_S or fraction >= 1.0:
            self._last_line_s = now
            self._screen.print(f"{name:<28} {100 * fraction:3.0f} %  {note}", soft_wrap=True)
