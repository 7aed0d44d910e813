"""The page of all commands: what each prints when asked for help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from pipeline.cli import app

_WIDTH = 84
_INTRODUCTION = """# Commands

What `posecache COMMAND --help` prints, of every command. Exit codes: 0 done, 1 unexpected
(`posecache --debug ...` shows the trace), 2 usage or configuration, 3 data, 4 a store or run of
another kind, 130 stopped with Ctrl-C (which says how to go on).
`--set key=value` takes any key of the [settings](settings.md).
"""


def page() -> str:
    """Return the page's markdown."""
    parts = [_INTRODUCTION]
    for name, text in helps(typer.main.get_command(app), "posecache"):
        parts.append(f"## `{name}`\n\n```text\n{text.strip()}\n```\n")
    return "\n".join(parts)


def helps(command: Any, name: str, parent: Any = None) -> Iterator[tuple[str, str]]:
    """Yield the full name and the help text of a command and of all below it, groups first."""
    context = command.context_class(
        command,
        info_name=name.rsplit(" ", 1)[-1],
        parent=parent,
        terminal_width=_WIDTH,
        max_content_width=_WIDTH,
    )
    lines = command.get_help(context).splitlines()
    yield name, "\n".join(line.rstrip() for line in lines)
    for below in getattr(command, "commands", {}):
        yield from helps(command.commands[below], f"{name} {below}", context)
