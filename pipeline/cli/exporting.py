"""Trained lifters for other programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.cli.app import app

_Format = Literal["onnx", "program"]
_Maps = Literal["float32", "float16"]


@app.command(
    rich_help_panel=panels.SHOW,
    epilog=panels.examples(
        "posecache export runs/NAME",
        "posecache export runs/NAME --format program --out lifter.pt2",
    ),
)
def export(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run directory; the newest if none.", autocompletion=completion.runs),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; RUN/lifter.onnx or .pt2 if none.")
    ] = None,
    file_format: Annotated[
        _Format, typer.Option("--format", help="program: for torch.export.load.")
    ] = "onnx",
    batch: Annotated[
        int | None, typer.Option("--batch", min=1, help="Samples of every call; any if none.")
    ] = None,
    maps: Annotated[_Maps, typer.Option("--maps", help="Type of the maps that go in.")] = "float32",
    as_json: options.AsJson = False,
) -> None:
    """Write the lifter of a run as an ONNX file or a torch.export program, checked against it."""
    from pipeline.commands.export import run_export

    run_export(run, out=out, file_format=file_format, batch=batch, maps=maps, as_json=as_json)
