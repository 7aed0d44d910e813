"""`posecache cache diff | recode`: compare two stores, write one anew in another layout."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.commands.cache import cache_app

_A_Store = Annotated[
    str, typer.Argument(help="Folder or URL of a store.", autocompletion=completion.stores)
]
_Target = Annotated[str, typer.Argument(help="Folder or URL of the new store.")]
_Dtype = Literal["float32", "float16", "uint8"]
_Codec = Literal["raw", "zstd", "blosc"]


@cache_app.command(
    epilog=panels.examples(
        "posecache cache diff data/a.zarr data/b.zarr --values",
    ),
)
def diff(
    a: _A_Store,
    b: _A_Store,
    values: Annotated[
        bool, typer.Option("--values", help="Compare every number too; both must be complete.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Show what differs between two stores; exit code 4 if anything does."""
    from pipeline.console import Meter, console, print_json
    from pipeline.errors import CACHE_MISMATCH
    from pipeline.stores.changes import diff_stores
    from pipeline.stores.tables import difference_report

    screen = console(quiet=as_json)
    with Meter(screen) as meter:

        def show(done: int, of: int) -> None:
            meter.update("compare", done / of, f"chunk {done} of {of}")

        found = diff_stores(a, b, values=values, progress=show)
    if as_json:
        print_json(found)
    else:
        screen.print(difference_report(found))
    if not found["equal"]:
        raise typer.Exit(CACHE_MISMATCH)


@cache_app.command(
    epilog=panels.examples(
        "posecache cache recode data/synthetic-hrnet-synthetic.zarr data/small.zarr --dtype uint8",
        "posecache cache recode data/synthetic-hrnet-synthetic.zarr archive.zarr --codec zstd",
    ),
)
def recode(
    store: _A_Store,
    out: _Target,
    dtype: Annotated[
        _Dtype | None,
        typer.Option("--dtype", help="uint8: 8-bit codes, int8 where a level has negative values."),
    ] = None,
    codec: Annotated[
        _Codec | None, typer.Option("--codec", help="raw to train from, others to keep or send.")
    ] = None,
    shard_rows: Annotated[
        int | None, typer.Option("--shard-rows", min=1, help="Rows per chunk, a power of two.")
    ] = None,
    inner_rows: Annotated[
        int | None, typer.Option("--inner-rows", min=1, help="Rows that are compressed together.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Threads; one per core if not given.")
    ] = None,
    as_json: options.AsJson = False,
) -> None:
    """Write a finished store again in another precision, codec, chunking or place.

    Stopped at any time, the same command goes on. What is not given stays as it is.
    """
    from pipeline.console import Meter, console, print_json
    from pipeline.stores.changes import recode_store
    from pipeline.stores.tables import recode_report

    screen = console(quiet=as_json)
    with Meter(screen) as meter:

        def show(what: str, done: int, of: int) -> None:
            meter.update(what, done / of, f"chunk {done} of {of}")

        result = recode_store(
            store,
            out,
            dtype=dtype,
            codec=codec,
            inner_rows=inner_rows,
            shard_rows=shard_rows,
            workers=workers,
            progress=show,
        )
    if as_json:
        print_json(result)
    else:
        screen.print(recode_report(result))
