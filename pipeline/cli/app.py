"""The application that every command registers with."""

from __future__ import annotations

from typing import Annotated

import typer
from typer.completion import get_completion_inspect_parameters, install_callback, show_callback

from pipeline.cli import panels
from pipeline.cli.groups import CommandGroup
from pipeline.cli.overview import overview
from pipeline.commands.cache import cache_app
from pipeline.commands.config import config_app
from pipeline.processes import require_joint

_HELP = """Run a frozen 2D pose detector over a dataset once, keep its joints and feature maps in
a Zarr store, and train 3D lifting models from that store.

In order: demo (try it, needs no data), extract, lift, report, predict. Each command shows worked
examples: posecache COMMAND --help.
"""

app = typer.Typer(
    name="posecache",
    cls=CommandGroup,
    help=_HELP,
    invoke_without_command=True,
    add_completion=False,  # its own two options, below, do without importing pydantic
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"max_content_width": 100, "help_option_names": ["-h", "--help"]},
)
get_completion_inspect_parameters()  # makes the shells known
app.add_typer(cache_app, rich_help_panel=panels.EXTRACT)
app.add_typer(config_app, rich_help_panel=panels.SETTINGS)


def _show_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"posecache {version('posecache')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    _debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.")
    ] = False,
    _version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version."),
    ] = False,
    _install_completion: Annotated[
        bool,
        typer.Option(
            "--install-completion",
            callback=install_callback,
            is_eager=True,
            help="Let this shell complete commands, options and names.",
        ),
    ] = False,
    _show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            callback=show_callback,
            is_eager=True,
            help="Print what that would add to the shell's start-up files.",
        ),
    ] = False,
) -> None:
    # `main` reads the flag from the command line, because an error may come before this runs.
    if context.invoked_subcommand is None:
        typer.echo(overview(context.command))
        return
    require_joint(context.invoked_subcommand)
