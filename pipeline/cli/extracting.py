"""Stage 1: detectors, persons, stores."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import options
from pipeline.cli import panels
from pipeline.cli.app import app


@app.command(
    "train-detector",
    rich_help_panel=panels.EXTRACT,
    epilog=panels.examples(
        "posecache train-detector --preset detector",
        "posecache train-detector --dataset coco --set dataset.root=DIR --out runs/my-detector",
    ),
)
def train_detector(
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the new detector.")] = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    device: options.Device = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Train a 2D detector on the 2D labels of a dataset."""
    from pipeline.commands.detector import run_train_detector

    run_train_detector(
        preset, out=out, dataset=dataset, device=device, sets=sets or (), as_json=as_json
    )


@app.command(
    "convert-checkpoint",
    rich_help_panel=panels.EXTRACT,
    epilog=panels.examples(
        "posecache convert-checkpoint hrnet_w32.pth hrnet_w32.safetensors",
    ),
)
def convert_checkpoint(
    source: Annotated[Path, typer.Argument(help="Checkpoint of mmpose, .pth.")],
    target: Annotated[Path, typer.Argument(help="New file, .safetensors.")],
    as_json: options.AsJson = False,
) -> None:
    """Keep the weights of a checkpoint as safetensors; nothing in the file is run."""
    from pipeline.commands.checkpoint import run_convert_checkpoint

    run_convert_checkpoint(source, target, as_json=as_json)


@app.command(
    "find-people",
    rich_help_panel=panels.EXTRACT,
    epilog=panels.examples(
        "posecache find-people videos --set people.config=FILE --set people.weights=FILE",
    ),
)
def find_people(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures and videos.")],
    out: Annotated[Path, typer.Option("--out", help="Box file to write, .csv.")] = Path(
        "people.csv"
    ),
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Find and track the persons of your own videos; goes on where it was stopped."""
    from pipeline.commands.people import run_find_people

    run_find_people(folder, out=out, sets=sets or (), as_json=as_json)


@app.command(
    rich_help_panel=panels.EXTRACT,
    epilog=panels.examples(
        "posecache extract --dataset synthetic",
        "posecache extract --dataset human36m --detector hrnet-w32 "
        "--set dataset.root=DIR --set detector.weights=FILE --dry-run",
    ),
)
def extract(
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    device: options.Device = None,
    sets: options.Sets = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Processes; one per core if not given.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option("--scheduler", help="Running Dask cluster, tcp://HOST:PORT.")
    ] = None,
    part: Annotated[
        str | None, typer.Option("--part", metavar="I/N", help="Only the I-th of N shares.")
    ] = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Find damaged chunks and extract them again.")
    ] = False,
    strict: options.Strict = False,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Write the store of a dataset and a detector; goes on where it was stopped."""
    from pipeline.commands.extract import run_extract

    changes = [*(sets or ()), *(["extract.strict=true"] if strict else [])]
    changes += [] if workers is None else [f"extract.workers={workers}"]
    changes += [] if scheduler is None else [f"extract.scheduler={scheduler}"]
    run_extract(
        preset,
        dataset=dataset,
        detector=detector,
        device=device,
        sets=changes,
        part=part,
        repair=repair,
        dry_run=dry_run,
        as_json=as_json,
    )
