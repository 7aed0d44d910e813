"""`posecache cache list | info | verify`: look into stores and check them."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.cli.groups import CommandGroup

cache_app = typer.Typer(
    name="cache",
    cls=CommandGroup,
    help="List stores, look into one, check, compare, recode, merge and thin them out.",
    epilog=panels.examples(
        "posecache cache list", "posecache cache info data/synthetic-hrnet-synthetic.zarr"
    ),
    no_args_is_help=True,
    rich_markup_mode=None,
)

Store = Annotated[
    str | None,
    typer.Argument(
        help="Folder or URL of a store; that of the options if none.",
        autocompletion=completion.stores,
    ),
]


@cache_app.command(
    "list",
    epilog=panels.examples(
        "posecache cache list",
        "posecache cache list --set data_root=s3://bucket/stores",
    ),
)
def list_stores(sets: options.Sets = None, as_json: options.AsJson = False) -> None:
    """List the stores below data_root."""
    from pipeline.console import console, print_json
    from pipeline.stores.facts import list_stores as found_stores
    from pipeline.stores.tables import stores_table

    root = data_root(sets)
    stores = found_stores(root)
    if as_json:
        print_json(stores)
    elif stores:
        console().print(stores_table(stores))
    else:
        console().print(f"{root}: no stores. Make one with: posecache extract.", soft_wrap=True)


@cache_app.command(
    epilog=panels.examples(
        "posecache cache info data/synthetic-hrnet-synthetic.zarr",
        "posecache cache info --dataset synthetic",
    ),
)
def info(
    store: Store = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Show the arrays of a store, its splits, unusable frames and identities."""
    from pipeline.console import console, print_json
    from pipeline.stores.facts import describe_store
    from pipeline.stores.tables import store_tree

    description = describe_store(chosen_store(store, preset, dataset, detector, sets))
    if as_json:
        print_json(description)
    else:
        console().print(store_tree(description))


@cache_app.command(
    epilog=panels.examples(
        "posecache cache verify data/synthetic-hrnet-synthetic.zarr",
        "posecache cache verify data/synthetic-hrnet-synthetic.zarr --quick",
    ),
)
def verify(
    store: Store = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Of the maps, read the indexes of the shards only.")
    ] = False,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Read every byte of a store and check sums, counts and ranges; exit code 3 if one is bad."""
    from pipeline.console import Meter, console, print_json
    from pipeline.errors import DATA
    from pipeline.stores.facts import verify_store
    from pipeline.stores.tables import verify_report

    location = chosen_store(store, preset, dataset, detector, sets)
    with Meter(console(quiet=as_json)) as meter:

        def show(done: int, of: int) -> None:
            meter.update("verify", done / of, f"chunk {done} of {of}")

        report = verify_store(location, show, quick=quick)
    if as_json:
        print_json(report)
    else:
        console().print(verify_report(report))
    if not report["ok"]:
        raise typer.Exit(DATA)


def data_root(sets: list[str] | None) -> str:
    """Return the folder or URL of the stores; raises ConfigError for any other key in `sets`."""
    from pipeline.errors import ConfigError
    from pipeline.settings import parse_set

    root = "data"
    for key, value in map(parse_set, sets or ()):
        if key != "data_root":
            raise ConfigError(f"this command reads only data_root, not {key!r}.")
        root = str(value)
    return root


def chosen_store(
    store: str | None,
    preset: str,
    dataset: str | None,
    detector: str | None,
    sets: list[str] | None,
) -> str:
    """Return the store named, else that of the configuration."""
    if store is not None:
        return store
    from pipeline.config import load_config
    from pipeline.stores.facts import store_location

    return store_location(
        load_config(preset, dataset=dataset, detector=detector, sets=sets or ()),
    )
