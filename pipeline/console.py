"""What commands write to the screen while they work: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, TaskID, TextColumn

_LINE_EVERY_S = 10.0
_BAR_FROM_WIDTH = 130
"""Columns of a terminal that has room for a bar beside the notes."""
_NAME_WIDTH = 28
PLAIN_WIDTH = 160
"""Columns of a table that goes into a file or a pipe: wide enough that no number is cut."""


class _Screen(Console):
    """A console that leaves an output that nobody reads any more to the command line."""

    def on_broken_pipe(self) -> None:
        raise


def console(*, quiet: bool = False) -> Console:
    """Return the console of the standard output; a quiet one shows nothing."""
    width = None if sys.stdout.isatty() else PLAIN_WIDTH
    return _Screen(width=width, quiet=quiet, highlight=False, soft_wrap=False)


def print_json(content: Any) -> None:
    """Print `content` as JSON, the only output of a command with --json."""
    print(json.dumps(content, indent=2, allow_nan=False))


def duration_text(seconds: float) -> str:
    """Return e.g. `3:20` or `1:02:03`."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    if hours:
        return f"{hours}:{minutes:02d}:{whole % 60:02d}"
    return f"{minutes}:{whole % 60:02d}"


class Meter:
    """Progress of several named jobs, each from 0 to 1.

    A terminal has a line per job that is drawn over. Elsewhere, in files and pipes, each job
    writes a line of the same fields every ten seconds at most, and one at its end.
    """

    def __init__(self, screen: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._screen, self._clock = screen, clock
        self._jobs: dict[str, _Job] = {}
        self._bars: Progress | None = None
        if screen.is_terminal and not screen.quiet:
            bar: list[ProgressColumn] = [BarColumn(bar_width=20)]
            self._bars = Progress(
                TextColumn("{task.description}"),
                *(bar if screen.width >= _BAR_FROM_WIDTH else []),
                TextColumn("{task.percentage:>3.0f} %"),
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

    def update(
        self, name: str, fraction: float, note: str = "", *, seconds_left: float | None = None
    ) -> None:
        """Show that the job `name` is at `fraction`.

        Args:
            name: of the job; its first update begins it.
            fraction: 0 to 1; at 1 it has ended.
            note: what else there is to say.
            seconds_left: until its end; if None, as the pace since it began has it.
        """
        now = self._clock()
        job = self._jobs.setdefault(name, _Job(now, fraction))
        if fraction < 1.0:
            left = job.seconds_left(now, fraction) if seconds_left is None else seconds_left
            shown = "-" if left is None or not math.isfinite(left) else duration_text(left)
            note = f"{note}  ETA {shown:>7}".lstrip()
        if self._bars:
            if job.task is None:
                job.task = self._bars.add_task(name, total=1.0, note=note)
            self._bars.update(job.task, completed=fraction, note=note)
        elif fraction >= 1.0 or now - job.last_line_s >= _LINE_EVERY_S:
            job.last_line_s = now
            line = f"{name:<{_NAME_WIDTH}} {100 * fraction:3.0f} %  {note}"
            self._screen.print(line, soft_wrap=True)


class _Job:
    """When a job began, and when it last had a line."""

    def __init__(self, began_s: float, began_at: float) -> None:
        self._began_s, self._began_at = began_s, began_at
        self.last_line_s = -math.inf
        self.task: TaskID | None = None

    def seconds_left(self, now_s: float, fraction: float) -> float | None:
        done = fraction - self._began_at
        return (now_s - self._began_s) / done * (1.0 - fraction) if done > 0.0 else None
