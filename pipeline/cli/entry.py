"""Runs the command line: expected errors are one message and an exit code."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress

import typer

from pipeline.cli.app import app
from pipeline.cli.streams import open_streams
from pipeline.cli.usage import UsageError, as_usage_error
from pipeline.errors import DATA, UNEXPECTED, exit_code, is_silent

_NAME = "posecache"  # also for `python -m pipeline`, so that every hint can be copied
_INTERRUPTED = 128 + signal.SIGINT
_NOBODY_READS = 128 + signal.SIGPIPE


def main() -> None:
    """Run the command line; expected errors are one message and an exit code."""
    outlet = open_streams()
    ended: object = _INTERRUPTED
    try:
        # Not standalone: Typer would print usage errors in its own manner, and end.
        ended = app(prog_name=_NAME, standalone_mode=False)
    except SystemExit as end:
        ended = end.code
    except KeyboardInterrupt:
        pass  # before any command began: those say themselves what they have left
    except Exception as raised:
        if outlet is None or raised is not outlet.lost:
            ended = _said(raised)
    if outlet is not None and (lost := outlet.finish()) is not None:
        ended = _said_of_output(lost)
    sys.exit(ended)  # type: ignore[arg-type]


def _said(raised: Exception) -> int:
    """Return the exit code of an error, after its message; raises it with `--debug`."""
    error = as_usage_error(raised)
    if "--debug" in sys.argv and not isinstance(error, UsageError):
        raise raised
    code = exit_code(error)
    kind = type(error).__name__
    if code == UNEXPECTED:
        _say(f"unexpected {kind}: {error}\nFor the trace: posecache --debug ...")
    elif not is_silent(error):
        _say(f"{kind}: {error}")
    return code


def _said_of_output(lost: OSError) -> int:
    if isinstance(lost, BrokenPipeError):  # `posecache ... | head`
        return _NOBODY_READS
    _say(
        f"UnwritableTarget: standard output: cannot be written ({lost.strerror or lost}). "
        "Free some space, or send it elsewhere."
    )
    return DATA


def _say(text: str) -> None:
    with suppress(OSError):  # of a full or closed standard error nobody can be told
        typer.echo(text, err=True)
