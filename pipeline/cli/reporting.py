"""Pages of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.cli.app import app


@app.command(
    rich_help_panel=panels.SHOW,
    epilog=panels.examples(
        "posecache report runs/NAME", "posecache report runs/A runs/B --out comparison.html"
    ),
)
def report(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run directories; the newest if none.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Page to write; RUN/report.html if not given."),
    ] = None,
    control: Annotated[
        Path | None,
        typer.Option("--control", metavar="RUN", help="Run without context to hold it against."),
    ] = None,
    store: Annotated[str | None, typer.Option("--store", help="Where the store lies now.")] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a page of a run for a browser: curves, tables, frames, 3D; of several, a comparison."""
    from pipeline.commands.report import run_report

    run_report(runs or (), out=out, control=control, store=store, sets=sets or (), as_json=as_json)
