"""`posecache config`: what would be used, and what can be set."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import options
from pipeline.cli import panels
from pipeline.cli.groups import CommandGroup

config_app = typer.Typer(
    name="config",
    cls=CommandGroup,
    help="Show the resolved configuration, or every key that can be set.",
    epilog=panels.examples("posecache config show --preset paper --changed"),
    no_args_is_help=True,
    rich_markup_mode=None,
)


@config_app.command(
    epilog=panels.examples(
        "posecache config show --dataset human36m --detector hrnet-w32",
        "posecache config show --preset paper --set train.lr=1e-3 --changed",
    ),
)
def show(
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    lifter: options.Lifter = None,
    device: options.Device = None,
    sets: options.Sets = None,
    changed: Annotated[
        bool, typer.Option("--changed", help="Only what a file or an option has set.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Print the configuration that these options give, and where each value comes from.

    The output is YAML, and may be kept as a preset. With --json it has two parts: config, the tree,
    and origins, by dotted key.
    """
    from pipeline.config import resolve_config
    from pipeline.config_text import annotated_yaml, only_changed
    from pipeline.console import print_json
    from pipeline.layers import DEFAULT

    resolved = resolve_config(
        preset,
        dataset=dataset,
        detector=detector,
        lifter=lifter,
        device=device,
        sets=sets or (),
    )
    tree, origins = resolved.config.dump(), resolved.origins
    if changed:
        tree = only_changed(tree, origins)
        origins = {key: origin for key, origin in origins.items() if origin != DEFAULT}
    if as_json:
        print_json({"config": tree, "origins": origins})
        return
    typer.echo(annotated_yaml(tree, origins), nl=False)


@config_app.command(
    epilog=panels.examples(
        "posecache config schema",
    ),
)
def schema() -> None:
    """Print the JSON schema: every key, its type, default and meaning."""
    from pipeline.config import RunConfig
    from pipeline.console import print_json

    print_json(RunConfig.model_json_schema())
