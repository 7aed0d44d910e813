"""`posecache cache merge | subset | gc`: stores from parts of stores, and what can be removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline import options
from pipeline.cli import panels
from pipeline.commands.cache import cache_app

_Out = Annotated[Path, typer.Option("--out", help="Folder of the new store.")]


@cache_app.command(
    epilog=panels.examples(
        "posecache cache merge part-1.zarr part-2.zarr --out data/whole.zarr",
    ),
)
def merge(
    stores: Annotated[list[Path], typer.Argument(help="Stores with some of the chunks each.")],
    out: _Out,
    as_json: options.AsJson = False,
) -> None:
    """Bring the chunks of several stores of one extraction together; exit code 3 if some lack."""
    from dataclasses import asdict

    from cache.derived.merge import merge as merge_stores
    from pipeline.console import Meter, console, print_json
    from pipeline.errors import DATA

    screen = console(quiet=as_json)
    with Meter(screen) as meter:
        report = merge_stores(stores, out, lambda done, of: meter.update("merge", done / of))
    if as_json:
        print_json({"path": str(out), "ok": report.ok, **asdict(report)})
    else:
        screen.print(f"{out}: {report.copied} chunks copied", soft_wrap=True)
        for clash in report.conflicts:
            first, second = clash.locations
            screen.print(
                f"conflict: chunk {clash.chunk} has other bytes in {first} than in {second} "
                f"({', '.join(clash.arrays)}): left out. Decide by leaving one of them out.",
                style="red",
                soft_wrap=True,
            )
        for location, problem in report.damaged:
            screen.print(
                f"damaged: chunk {problem.chunk} of {location}, {problem.array}: {problem.reason}",
                style="yellow",
                soft_wrap=True,
            )
        if report.missing:
            numbers = ", ".join(map(str, report.missing[:8]))
            more = ", ..." if len(report.missing) > 8 else ""
            screen.print(
                f"{len(report.missing)} of {report.num_chunks} chunks are missing ({numbers}{more})"
                ". Merge further parts into the same store, or extract them there.",
                soft_wrap=True,
            )
    if report.missing:
        raise typer.Exit(DATA)


@cache_app.command(
    epilog=panels.examples(
        "posecache cache subset data/synthetic-hrnet-synthetic.zarr "
        "--out data/small.zarr --where split=train,validation",
    ),
)
def subset(
    store: Annotated[Path, typer.Argument(help="Store to take rows from.")],
    out: _Out,
    where: Annotated[
        list[str],
        typer.Option("--where", metavar="COLUMN=WORD,...", help="Rows to take; may be repeated."),
    ],
    as_json: options.AsJson = False,
) -> None:
    """Write the chosen rows of a store into a new one, values unchanged."""
    from cache.derived.subset import subset as subset_store
    from pipeline.console import Meter, console, print_json

    screen = console(quiet=as_json)
    with Meter(screen) as meter:
        taken, of = subset_store(
            store, out, _conditions(where), lambda done, of: meter.update("subset", done / of)
        )
    if as_json:
        print_json({"path": str(out), "num_rows": taken, "of_rows": of})
    else:
        screen.print(f"{out}: {taken:,} of {of:,} frames of {store}", soft_wrap=True)


@cache_app.command(
    epilog=panels.examples(
        "posecache cache gc",
        "posecache cache gc data --yes",
    ),
)
def gc(
    folder: Annotated[
        str | None, typer.Argument(help="Folder of the stores; data_root if none.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Remove what is listed.")] = False,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """List what killed writers and deleted stores have left; removes it with --yes."""
    from cache.garbage import find_leftovers, remove_leftovers
    from cache.storage import is_url
    from pipeline.commands.cache import data_root
    from pipeline.console import console, print_json
    from pipeline.errors import ConfigError
    from pipeline.stores.tables import size_text

    root = folder or data_root(sets)
    if is_url(root):
        raise ConfigError(
            f"{root}: only folders have leftovers. An unfinished upload is invisible, and a "
            "lifecycle rule of the bucket ends it."
        )
    found = find_leftovers(Path(root))
    if yes:
        found = remove_leftovers(found)
    total = sum(leftover.size_bytes for leftover in found)
    if as_json:
        listed = [
            {"path": str(each.path), "kind": each.kind, "size_bytes": each.size_bytes}
            for each in found
        ]
        print_json({"removed": yes, "size_bytes": total, "leftovers": listed})
        return
    screen = console()
    for each in found:
        screen.print(
            f"{each.kind:<16} {size_text(each.size_bytes):>9}  {each.path}", soft_wrap=True
        )
    done = "removed" if yes else "can be removed: --yes"
    screen.print(f"{len(found)} leftovers, {size_text(total)}" + (f" {done}" if found else ""))


def _conditions(texts: list[str]) -> dict[str, list[str]]:
    from pipeline.errors import ConfigError

    conditions: dict[str, list[str]] = {}
    for text in texts:
        column, equals, words = text.partition("=")
        if not equals or not column or not words or column in conditions:
            raise ConfigError(
                f"--where {text!r}: expected column=word,word once per column, "
                "e.g. --where split=train,validation."
            )
        conditions[column] = words.split(",")
    return conditions
