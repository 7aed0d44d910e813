"""`posecache cache`: look into stores and check them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import options

cache_app = typer.Typer(
    name="cache",
    help="List stores, look into one, check every byte of one.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Store = Annotated[Path | None, typer.Argument(help="Store; that of the options if none.")]


@cache_app.command("list")
def list_stores(sets: options.Sets = None, as_json: options.AsJson = False) -> None:
    """List the stores below data_root."""
    from pipeline.console import console, print_json
    from pipeline.stores import list_stores as found_stores
    from pipeline.tables import stores_table

    stores = found_stores(_data_root(sets))
    if as_json:
        print_json(stores)
    else:
        console().print(stores_table(stores))


@cache_app.command()
def info(
    store: _Store = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Show rows, levels, splits, invalid frames and the two identities of a store."""
    from pipeline.console import console, print_json
    from pipeline.stores import describe_store
    from pipeline.tables import store_table

    description = describe_store(_chosen(store, preset, dataset, detector, sets))
    if as_json:
        print_json(description)
    else:
        console().print(store_table(description))


@cache_app.command()
def verify(
    store: _Store = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Read every byte of a store and check sums, counts and ranges; exit code 3 if one is bad."""
    from pipeline.console import Meter, console, print_json
    from pipeline.errors import DATA
    from pipeline.stores import verify_store
    from pipeline.tables import verify_table

    path = _chosen(store, preset, dataset, detector, sets)
    with Meter(console(quiet=as_json)) as meter:
        report = verify_store(path, lambda done, of: meter.update("verify", done / of))
    if as_json:
        print_json(report)
    else:
        console().print(verify_table(report))
    if not report["ok"]:
        raise typer.Exit(DATA)


def _data_root(sets: list[str] | None) -> Path:
    from pipeline.errors import ConfigError
    from pipeline.settings import parse_set

    root = Path("data")
    for key, value in map(parse_set, sets or ()):
        if key != "data_root":
            raise ConfigError(f"cache list reads only data_root, not {key!r}.")
        root = Path(str(value))
    return root


def _chosen(
    store: Path | None,
    preset: str,
    dataset: str | None,
    detector: str | None,
    sets: list[str] | None,
) -> Path:
    if store is not None:
        return store
    from pipeline.config import load_config
    from pipeline.stores import store_path

    return store_path(
        load_config(preset, dataset=dataset, detector=detector, sets=sets or ()),
    )
