"""The command line: thin functions over plain ones. Only this package's commands print and exit.

Everything heavy is imported inside the commands, so that `posecache --help` stays fast.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import pipeline.commands.cache_parts
import pipeline.commands.cache_recode
import pipeline.commands.cache_sample
import pipeline.commands.cache_show  # noqa: F401, the commands of these are registered with them
from pipeline import options
from pipeline.commands.cache import cache_app
from pipeline.commands.config import config_app
from pipeline.errors import UNEXPECTED, exit_code, is_silent
from pipeline.processes import require_joint

_HELP = """Run a frozen 2D pose detector over a dataset once, keep its joints and feature maps in
a Zarr store, and train 3D lifting models from that store.

In order: demo (try it, needs no data), extract, lift, evaluate, compare.
"""

_INTERRUPTED = 130

app = typer.Typer(
    name="posecache",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cache_app)
app.add_typer(config_app)


@app.callback()
def _root(
    context: typer.Context,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
) -> None:
    # `main` reads the flag from the command line, because an error may come before this runs.
    require_joint(context.invoked_subcommand)


@app.command()
def doctor(sets: options.Sets = None, as_json: options.AsJson = False) -> None:
    """Check versions, devices and disk; says how to mend what is red."""
    from pipeline.commands.doctor import run_doctor

    if not run_doctor(sets or (), as_json=as_json):
        raise typer.Exit(UNEXPECTED)


@app.command()
def demo(
    preset: options.Preset = "demo",
    device: options.Device = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Extract drawn figures, train lifters with and without context, print the table."""
    from pipeline.commands.ablate import run_ablate

    run_ablate(preset, device=device, sets=sets or (), dry_run=dry_run, as_json=as_json)


@app.command()
def ablate(
    ladder: Annotated[
        str | None,
        typer.Argument(help="Shipped comparison, or a YAML file; the preset's own if not given."),
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


@app.command("train-detector")
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


@app.command("convert-checkpoint")
def convert_checkpoint(
    source: Annotated[Path, typer.Argument(help="Checkpoint of mmpose, .pth.")],
    target: Annotated[Path, typer.Argument(help="New file, .safetensors.")],
    as_json: options.AsJson = False,
) -> None:
    """Keep the weights of a checkpoint as safetensors; nothing in the file is run."""
    from pipeline.commands.checkpoint import run_convert_checkpoint

    run_convert_checkpoint(source, target, as_json=as_json)


@app.command("find-people")
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


@app.command()
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


@app.command()
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


@app.command()
def evaluate(
    run: Annotated[Path | None, typer.Argument(help="Run directory; the newest if none.")] = None,
    store: Annotated[str | None, typer.Option("--store", help="Another store of its kind.")] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Evaluate a run again, perhaps on another store or with other settings."""
    from pipeline.commands.evaluate import run_evaluate

    run_evaluate(run, store=store, sets=sets or (), as_json=as_json)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="Run directories; the first is the base.")],
    csv_file: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all numbers there, too.")
    ] = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Compare finished runs: metrics and their change, sources, settings that differ."""
    from pipeline.commands.compare import run_compare

    run_compare(runs, sets=sets or (), csv_file=csv_file, as_json=as_json)


@app.command("list-runs")
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


@app.command()
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks; all if none.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes; writes no result file.")
    ] = False,
) -> None:
    """Measure each part against its baseline on this machine; needs the source tree."""
    from pipeline.commands.bench import run_bench

    if code := run_bench(names or (), quick=quick):
        raise typer.Exit(code)


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
