"""The application that every command registers with."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands.cache import cache_app
from pipeline.commands.config import config_app
from pipeline.processes import require_joint

_HELP = """Run a frozen 2D pose detector over a dataset once, keep its joints and feature maps in
a Zarr store, and train 3D lifting models from that store.

In order: demo (try it, needs no data), extract, lift, evaluate, compare.
"""

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
