"""Stage 2: train and evaluate lifters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.cli.app import app


@app.command(
    rich_help_panel=panels.TRAIN,
    epilog=panels.examples(
        "posecache lift --dataset synthetic --lifter capf",
        "posecache lift --dataset synthetic --lifter pose_only --set train.epochs=20",
    ),
)
def lift(
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    lifter: options.Lifter = None,
    device: options.Device = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Train a lifter from the store and evaluate it; extracts first when the store is missing.

    Under torchrun, several processes train the one run together, from a store that is complete.
    """
    from pipeline.commands.lift import run_lift

    run_lift(
        preset,
        dataset=dataset,
        detector=detector,
        lifter=lifter,
        device=device,
        sets=sets or (),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command(
    rich_help_panel=panels.TRAIN,
    epilog=panels.examples(
        "posecache evaluate",
        "posecache evaluate runs/NAME --store data/synthetic-hrnet-synthetic.zarr",
    ),
)
def evaluate(
    run: Annotated[
        Path | None,
        typer.Argument(help="Run directory; the newest if none.", autocompletion=completion.runs),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", help="Another store of its kind.", autocompletion=completion.stores
        ),
    ] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate a run again, perhaps on another store or with other settings."""
    from pipeline.commands.evaluate import run_evaluate

    run_evaluate(run, store=store, sets=sets or (), as_json=as_json)


@app.command(
    rich_help_panel=panels.TRAIN,
    epilog=panels.examples(
        "posecache ablate ladder --dataset synthetic",
        "posecache ablate lifters --dataset synthetic --set comparison.seeds=[0,1,2] --dry-run",
    ),
)
def ablate(
    ladder: Annotated[
        str | None,
        typer.Argument(
            help="Shipped comparison, or a YAML file; the preset's own if not given.",
            autocompletion=completion.ladders,
        ),
    ] = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    device: options.Device = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Train lifters side by side with equal settings and compare them.

    Comparisons: ladder, levels, points, geometry, keypoints, features, lifters, temporal.
    """
    from pipeline.commands.ablate import run_ablate

    run_ablate(
        preset,
        ladder=ladder,
        dataset=dataset,
        detector=detector,
        device=device,
        sets=sets or (),
        dry_run=dry_run,
        as_json=as_json,
    )


@app.command(
    rich_help_panel=panels.TRAIN,
    epilog=panels.examples(
        "posecache compare runs/A runs/B",
        "posecache compare runs/A runs/B runs/C --csv table.csv",
    ),
)
def compare(
    runs: Annotated[
        list[Path],
        typer.Argument(
            help="Run directories; the first is the base.", autocompletion=completion.runs
        ),
    ],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all numbers there, too.")
    ] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare finished runs: metrics and their change, sources, settings that differ."""
    from pipeline.commands.compare import run_compare

    run_compare(runs, sets=sets or (), csv_file=csv_file, as_json=as_json)


@app.command(
    "list-runs",
    rich_help_panel=panels.TRAIN,
    epilog=panels.examples(
        "posecache list-runs --sort test",
        "posecache list-runs --where lifter=capf --where seed=0",
    ),
)
def list_runs(
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="COLUMN=VALUE", help="Only these, e.g. lifter=capf*."),
    ] = None,
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help="Smallest first, e.g. test.")
    ] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """List all runs below runs_root, finished or not, and write runs/index.csv."""
    from pipeline.commands.runs import run_list_runs

    run_list_runs(where=where or (), sort=sort, sets=sets or (), as_json=as_json)
