"""`posecache cache show`: one frame of a store as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from pipeline import options
from pipeline.cli import panels
from pipeline.commands.cache import Store, cache_app


@cache_app.command(
    epilog=panels.examples(
        "posecache cache show data/synthetic-hrnet-synthetic.zarr --row 30 --out frame.png",
        "posecache cache show --dataset synthetic",
    ),
)
def show(
    store: Store = None,
    row: Annotated[int | None, typer.Option("--row", help="Number of the frame's row.")] = None,
    item: Annotated[str | None, typer.Option("--item", help="Name of the frame.")] = None,
    view: Annotated[
        Literal["plain", "flipped"], typer.Option("--view", help="Input as it is, or mirrored.")
    ] = "plain",
    out: Annotated[
        Path | None, typer.Option("--out", help="PNG to write; into this folder if not given.")
    ] = None,
    preset: options.Preset = "default",
    dataset: options.Dataset = None,
    detector: options.Detector = None,
    sets: options.Sets = None,
    as_json: options.AsJson = False,
) -> None:
    """Draw one frame: its joints, and where each feature level is strong.

    It is the first usable one if none is named. The picture comes from the dataset if that is at
    hand; --set dataset.root=DIR says where it lies.
    """
    from dataclasses import asdict

    from pipeline.console import console, print_json
    from pipeline.errors import ConfigError
    from pipeline.stores.facts import open_store
    from pipeline.stores.pictures import draw_frame, find_row, load_picture

    location, source = _sources(store, preset, dataset, detector, sets or [])
    reader = open_store(location, allow_incomplete=True)
    if view not in reader.views:
        raise ConfigError(f"--view {view}: {location} has only {', '.join(reader.views)}.")
    number = find_row(reader, row=row, item=item)
    path = out or Path(f"{reader.name}-row{number}-{view}.png")
    shown = draw_frame(
        reader,
        number,
        path,
        view=reader.views.index(view),
        picture=load_picture(reader, number, source),
    )
    if as_json:
        print_json({**asdict(shown), "path": str(shown.path)})
        return
    screen = console()
    if shown.no_picture is not None:
        screen.print(f"without the picture: {shown.no_picture}", style="yellow", soft_wrap=True)
    screen.print(f"picture: {shown.path}", soft_wrap=True)


def _sources(
    store: str | None,
    preset: str,
    dataset: str | None,
    detector: str | None,
    sets: list[str],
) -> tuple[str, dict[str, Any] | None]:
    """Return the store, and name, options and root of its dataset as far as they are known."""
    from pipeline.errors import ConfigError
    from pipeline.settings import assign, parse_set
    from pipeline.stores.notes import dataset_note

    if store is None:
        from pipeline.config import load_config
        from pipeline.stores.facts import store_location

        config = load_config(preset, dataset=dataset, detector=detector, sets=sets)
        return store_location(config), config.dataset.model_dump(mode="json")
    known = dataset_note(store)
    tree: dict[str, Any] = {} if known is None else {"dataset": known}
    for key, value in map(parse_set, sets):
        if not key.startswith("dataset."):
            raise ConfigError(f"with a store, this command reads only dataset.*, not {key!r}.")
        tree = assign(tree, key, value)
    return store, tree.get("dataset")
