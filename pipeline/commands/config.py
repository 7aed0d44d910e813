"""`posecache config`: what would be used, and what can be set."""

from __future__ import annotations

import typer

from pipeline import options

config_app = typer.Typer(
    name="config",
    help="Show the resolved configuration, or every key that can be set.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@config_app.command()
def show(
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    lifter: options.Lifter = None,
    device: options.Device = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Print the configuration that these options give."""
    import sys

    from ruamel.yaml import YAML

    from pipeline.config import load_config
    from pipeline.console import print_json

    config = load_config(
        preset,
        dataset=dataset,
        detector=detector,
        lifter=lifter,
        device=device,
        sets=sets or (),
    )
    if as_json:
        print_json(config.dump())
        return
    yaml = YAML()
    yaml.default_flow_style = False
    yaml.dump(config.dump(), sys.stdout)


@config_app.command()
def schema() -> None:
    """Print the JSON schema: every key, its type, default and meaning."""
    from pipeline.config import RunConfig
    from pipeline.console import print_json

    print_json(RunConfig.model_json_schema())
