"""What `posecache` alone prints: what it is, and the usual commands in their order."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from pipeline.cli.panels import USUAL, examples_in

_WHAT = """\
posecache runs a frozen 2D pose detector over a dataset once and keeps its joints and feature maps,
then trains 2D -> 3D lifters from them, evaluates them, and uses them on your own pictures."""

_WHOLE, _WIDTH = 1000, 100

_REST = """\
All commands: posecache --help.  One of them, with examples: posecache COMMAND --help.
Every setting and its meaning: posecache config show, posecache config schema."""


def overview(group: Any) -> str:
    """Return the text, with the first example of each usual command of `group`."""
    lines = [_WHAT, "", "In this order:", ""]
    for name in USUAL:
        command = group.commands[name]
        lines += wrap(
            command.get_short_help_str(_WHOLE),
            _WIDTH,
            initial_indent=f"  {name:<9}",
            subsequent_indent=" " * 11,
        )
        lines += [f"           $ {example}" for example in examples_in(command.epilog)[:1]]
    return "\n".join([*lines, "", _REST])
