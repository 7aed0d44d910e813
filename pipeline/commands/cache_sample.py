"""`posecache cache sample`: a point cache, which holds what the maps show at the joints."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from pipeline import completion, options
from pipeline.cli import panels
from pipeline.commands.cache import cache_app


@cache_app.command(
    epilog=panels.examples(
        "posecache cache sample data/synthetic-hrnet-synthetic.zarr --dry-run",
        "posecache cache sample data/synthetic-hrnet-synthetic.zarr --out data/points.zarr",
    ),
)
def sample(
    store: Annotated[
        str,
        typer.Argument(help="Folder or URL of a finished store.", autocompletion=completion.stores),
    ],
    out: Annotated[
        str | None,
        typer.Option("--out", help="Point cache to write; NAME-points.zarr beside the store."),
    ] = None,
    dtype: Annotated[
        Literal["float16", "float32"], typer.Option("--dtype", help="Of the points.")
    ] = "float16",
    sets: options.Sets = None,
    dry_run: options.DryRun = False,
    as_json: options.AsJson = False,
) -> None:
    """Keep of the maps what they show at the joints, for lifters that need no more.

    Stopped at any time, the same command goes on. --set train.data.keypoint_source and
    lifter.reference_rule say where the maps are read.
    """
    from pipeline.console import Meter, console, print_json
    from pipeline.stores.points import choice_of, make_points, plan_points

    choice = choice_of(sets or (), dtype)
    target = out or choice.target_of(store)
    screen = console(quiet=as_json)
    if dry_run:
        plan = plan_points(store, target, choice)
        if as_json:
            print_json(plan)
        else:
            screen.print(_plan_text(plan), soft_wrap=True)
        return
    with Meter(screen) as meter:

        def show(done: int, of: int) -> None:
            meter.update("sample", done / of, f"chunk {done} of {of}")

        result = make_points(store, target, choice, show)
    if as_json:
        print_json(result)
    else:
        screen.print(_result_text(result), soft_wrap=True)


def _plan_text(plan: dict[str, Any]) -> str:
    from pipeline.stores.tables import size_text

    points = plan["points"]
    return (
        f"{plan['target']}: {plan['num_rows']:,} frames at the {points['skeleton']} joints of "
        f"{points['keypoint_source']} keypoints (rule {points['reference_rule']}), "
        f"{size_text(plan['points_bytes'])} of {plan['dtype']} points in {plan['num_chunks']} "
        f"chunks, {plan['chunks_done']} of them done. Nothing was written."
    )


def _result_text(result: dict[str, Any]) -> str:
    from pipeline.stores.tables import size_text

    size = (
        f"{size_text(result['target_bytes'])}, 1/{result['ratio']:.1f} of the "
        f"{size_text(result['source_bytes'])} of {result['source']}"
    )
    if result["up_to_date"]:
        return f"{result['target']}: up to date, {result['num_rows']:,} frames, {size}"
    return (
        f"{result['target']}: {result['rows_written']:,} of {result['num_rows']:,} frames sampled "
        f"in {result['seconds']:.1f} s ({result['rows_per_s']:.0f} frames/s), {size}"
    )
