"""Poses of one's own pictures and videos."""

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
        "posecache predict walk.mp4 --run runs/NAME --boxes people.csv",
        "posecache predict pictures/ --set people.onnx=yolox.onnx --intrinsics 1145,1143,512,515",
    ),
)
def predict(
    path: Annotated[Path, typer.Argument(metavar="INPUT", help="Picture, video or folder.")],
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Run directory; the newest that can be used if none.",
            autocompletion=completion.runs,
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write; predictions/INPUT if none.")
    ] = None,
    boxes: Annotated[
        Path | None, typer.Option("--boxes", help="Person boxes: csv, COCO json or MOT txt.")
    ] = None,
    intrinsics: Annotated[
        str | None,
        typer.Option("--intrinsics", metavar="FX,FY,CX,CY", help="Camera, px of the picture."),
    ] = None,
    device: options.Device = None,
    rerun: Annotated[
        bool, typer.Option("--rerun", help="Also write poses.rrd for the rerun viewer.")
    ] = False,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Lift a picture, a video or a folder with a finished run; write npz, json and overlays."""
    from pipeline.commands.predict import run_predict

    run_predict(
        path,
        run=run,
        out=out,
        boxes=boxes,
        intrinsics=intrinsics,
        device=device,
        rerun=rerun,
        sets=sets or (),
        as_json=as_json,
    )
