"""Runs the command line: expected errors are one message and an exit code."""

from __future__ import annotations

import sys

import typer

from pipeline.cli.app import app
from pipeline.cli.usage import UsageError, as_usage_error
from pipeline.errors import UNEXPECTED, exit_code, is_silent

_NAME = "posecache"  # also for `python -m pipeline`, so that every hint can be copied
_INTERRUPTED = 130


def main() -> None:
    """Run the command line; expected errors are one message and an exit code."""
    try:
        # Not standalone: Typer would print usage errors in its own manner, and end.
        sys.exit(app(prog_name=_NAME, standalone_mode=False))
    except KeyboardInterrupt:
        # Before any command began: those say themselves what they have left.
        sys.exit(_INTERRUPTED)
    except Exception as raised:
        error = as_usage_error(raised)
        if "--debug" in sys.argv and not isinstance(error, UsageError):
            raise
        code = exit_code(error)
        if is_silent(error):
            sys.exit(code)
        kind = type(error).__name__
        if code == UNEXPECTED:
            typer.echo(
                f"unexpected {kind}: {error}\nFor the trace: posecache --debug ...", err=True
            )
        else:
            typer.echo(f"{kind}: {error}", err=True)
        sys.exit(code)
