"""`posecache cache diff | recode`: compare two stores, write one anew in another layout."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pipeline import options
from pipeline.commands.cache import cache_app

_A_Store = Annotated[str, typer.Argument(help="Folder or URL of a store.")]
_Target = Annotated[str, typer.Argument(help="Folder or URL of the new store.")]
_Dtype = Literal["float32", "float16", "uint8"]
_Codec = Literal["raw", "zstd", "blosc"]


@cache_app.command()
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
    from pipeline.store_changes import diff_stores
    from pipeline.store_tables import store_difference_table, value_difference_table

    screen = console(quiet=as_json)
    with Meter(screen) as meter:

        def show(done: int, of: int) -> None:
            meter.update("compare", done / of, f"chunk {done} of {of}")

        found = diff_stores(a, b, values=values, progress=show)
    if as_json:
        print_json(found)
    else:
        if found["keys"]:
            screen.print(store_difference_table(found))
        if found["values"]:
            screen.print(value_difference_table(found["values"], found["num_rows"]))
        for line in _verdict(found, values=values):
            screen.print(line, soft_wrap=True)
    if not found["equal"]:
        raise typer.Exit(CACHE_MISMATCH)


@cache_app.command()
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
    from pipeline.store_changes import recode_store
    from pipeline.store_tables import recode_table, size_text

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
        return
    if result["is_exact"]:
        screen.print("Every value is what it was.")
    else:
        screen.print(recode_table(result))
    before, after = result["source_bytes"], result["target_bytes"]
    screen.print(
        f"{out}: {size_text(before)} became {size_text(after)} ({100 * after / before:.0f} %). "
        f"{result['chunks_written']} of {result['num_chunks']} chunks written in "
        f"{result['seconds']:.1f} s, all of them read back and compared. "
        f"Train from it with: posecache lift --set store={out}",
        soft_wrap=True,
    )


def _verdict(found: dict[str, object], *, values: bool) -> list[str]:
    """Say in words what the tables mean."""
    lines = []
    if found["not_comparable"]:
        lines.append(f"numbers not compared: {found['not_comparable']}")
    elif not values:
        lines.append("numbers not compared: --values reads them.")
    elif not found["values"]:
        lines.append("All numbers are equal.")
    if not found["keys"]:
        lines.insert(0, "Identities, row plan and layout are equal.")
    joinable = "can" if found["joinable"] else "cannot"
    lines.append(f"One reader {joinable} read both as one.")
    return lines
