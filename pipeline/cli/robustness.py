"""How errors grow with worse pictures and joints."""

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
        "posecache robustness",
        "posecache robustness runs/POSE_ONLY runs/CAPF --rows 200 --out robustness",
        "posecache robustness runs/A runs/B --set robustness.strengths.noise=[0.02,0.05]",
    ),
)
def robustness(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[RUN]...",
            help="Run directories of one store; the newest capf and its pose_only if none.",
            autocompletion=completion.runs,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Folder to write; runs/robustness-... if not given."),
    ] = None,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Test frames to degrade; 400.")
    ] = None,
    device: options.Device = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Degrade the test frames step by step and plot how the errors of runs grow.

    Noise and losses of 2D joints, occluders, boxes that are off, lower resolution. The same command
    goes on where it was stopped.
    """
    from pipeline.commands.robustness import run_robustness

    run_robustness(
        runs or (),
        out=out,
        rows=rows,
        device=device,
        sets=sets or (),
        dry_run=dry_run,
        as_json=as_json,
    )
