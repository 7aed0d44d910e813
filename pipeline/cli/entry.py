"""Runs the command line: expected errors are one message and an exit code."""

from __future__ import annotations

import sys

import typer

from pipeline.cli.app import app
from pipeline.errors import UNEXPECTED, exit_code, is_silent

_INTERRUPTED = 130


def main() -> None:
    """Run the command line; expected errors are one message and an exit code."""
    try:
        app()
    except (KeyboardInterrupt, SystemExit) as end:
        # Typer makes this code of Ctrl-C, and says nothing.
        if isinstance(end, SystemExit) and end.code != _INTERRUPTED:
            raise
        typer.echo("\nStopped. The same command goes on from here.", err=True)
        sys.exit(_INTERRUPTED)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        code = exit_code(error)
        kind = type(error).__name__
        if is_silent(error):
            sys.exit(code)
        if code == UNEXPECTED:
            typer.echo(
                f"unexpected {kind}: {error}\nFor the trace: posecache --debug ...", err=True
            )
        else:
            typer.echo(f"{kind}: {error}", err=True)
        sys.exit(code)
