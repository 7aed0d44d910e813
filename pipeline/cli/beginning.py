"""First steps: is this machine ready, does it work, how fast is it."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import options
from pipeline.cli import panels
from pipeline.cli.app import app
from pipeline.errors import UNEXPECTED


@app.command(
    rich_help_panel=panels.START,
    epilog=panels.examples(
        "posecache doctor",
        "posecache doctor --set data_root=/big/disk",
    ),
)
def doctor(sets: options.Sets = None, as_json: options.AsJson = False) -> None:
    """Check versions, devices and disk; says how to mend what is red."""
    from pipeline.commands.doctor import run_doctor

    if not run_doctor(sets or (), as_json=as_json):
        raise typer.Exit(UNEXPECTED)


@app.command(
    rich_help_panel=panels.START,
    epilog=panels.examples(
        "posecache demo",
        "posecache demo --dry-run",
    ),
)
def demo(
    preset: options.Preset = "demo",
    device: options.Device = None,
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Draw people, extract, train lifters with and without context, compare: needs no data."""
    from pipeline.commands.ablate import run_ablate

    run_ablate(preset, device=device, sets=sets or (), dry_run=dry_run, as_json=as_json)


@app.command(
    rich_help_panel=panels.START,
    epilog=panels.examples(
        "posecache bench --quick cache_read",
        "posecache bench cache_read loader",
    ),
)
def bench(
    names: Annotated[list[str] | None, typer.Argument(help="Benchmarks; all if none.")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Small sizes; writes no result file.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Measure each part against its baseline on this machine; needs the source tree."""
    from pipeline.commands.bench import run_bench

    if code := run_bench(names or (), quick=quick, as_json=as_json):
        raise typer.Exit(code)
