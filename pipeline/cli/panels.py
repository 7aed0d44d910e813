"""The sections of the help page, in their order, and how a command's examples are written."""

from __future__ import annotations

START = "Start here"
EXTRACT = "Detectors and stores"
TRAIN = "Lifters and runs"
SHOW = "Look at it, use it"
SETTINGS = "Settings"

ORDER = (START, EXTRACT, TRAIN, SHOW, SETTINGS)

USUAL = ("demo", "extract", "lift", "report", "predict")
"""The commands that most people need, in the order in which they are used."""

_HEADING = "\b\nExamples:\n"


def examples(*commands: str) -> str:
    """Return the end of a help page that shows worked commands, one per line.

    Each is a whole command that begins with `posecache`; a test parses all of them.
    """
    # The backspace keeps the lines as they are; without it they would be wrapped into one text.
    return _HEADING + "\n".join(f"  {command}" for command in commands)


def examples_in(epilog: str | None) -> tuple[str, ...]:
    """Return the commands that `examples` wrote into the end of a help page."""
    if epilog is None or not epilog.startswith(_HEADING):
        return ()
    return tuple(line.strip() for line in epilog.removeprefix(_HEADING).splitlines())
