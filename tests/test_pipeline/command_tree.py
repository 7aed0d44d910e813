"""Every command of the application, with its words."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from pipeline.cli import app

ROOT: Any = get_command(app)


def commands(
    group: Any = ROOT, above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield words and command of everything that does something."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*above, name))
        else:
            yield (*above, name), command


def groups(group: Any = ROOT, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield words and command of everything that has commands, the application first."""
    yield above, group
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from groups(command, (*above, name))


def option_names(command: Any) -> set[str]:
    """Return the long options of a command."""
    return {name for one in command.params for name in one.opts if name.startswith("--")}
