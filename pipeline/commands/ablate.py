"""`posecache ablate`, and `posecache demo`, which is its preset without data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from pipeline.ablation.comparison import compare_rows, level_names, num_workers, write_result
from pipeline.ablation.plan import Row, plan_jobs, plan_rows, plan_tuning, stores_of
from pipeline.ablation.runs import finished_jobs
from pipeline.ablation.text import show, write_shown
from pipeline.config import RunConfig, load_config
from pipeline.console import Meter, console, print_json
from pipeline.errors import PipelineError
from pipeline.extraction.extracted import ensure_store


def run_ablate(
    preset: str,
    *,
    ladder: str | None = None,
    dataset: str | None = None,
    detector: str | None = None,
    device: str | None = None,
    sets: Sequence[str] = (),
    dry_run: bool,
    as_json: bool,
) -> None:
    """Extract, train the rows of the comparison, and print their table.

    Raises PipelineError naming the runs that failed, after all others are in the table.
    """
    start = time.perf_counter()
    config = load_config(
        preset, dataset=dataset, detector=detector, ladder=ladder, device=device, sets=sets
    )
    screen = console(quiet=as_json)
    rows = plan_rows(config)
    if dry_run:
        plan = _plan(config, rows, screen)
        if as_json:
            print_json(plan)
        return
    _say_size(config, rows, screen)
    seconds: dict[str, float] = {}
    rates: dict[str, float] = {}
    for store in stores_of(rows).values():
        state = ensure_store(store, screen)
        for name, value in state.seconds.items():
            seconds[name] = seconds.get(name, 0.0) + value
        rates |= state.rates
    with Meter(screen) as meter:
        result = compare_rows(config, update=meter.update, seconds=seconds, rates=rates)
    result["seconds"]["all"] = time.perf_counter() - start
    write_shown(result)
    write_result(result)
    if as_json:
        print_json(result)
    else:
        show(screen, result)
    if result["failed"]:
        failed = result["failed"]
        named = "; ".join(f"{one['row']} seed {one['seed']}: {one['error']}" for one in failed)
        raise PipelineError(
            f"{len(failed)} runs failed, the others are in the table: {named} The same command "
            "tries these again from where they stopped."
        )


def _say_size(config: RunConfig, rows: Sequence[Row], screen: Console) -> None:
    comparison = config.comparison
    jobs = len(plan_jobs(config, rows))
    more = " and one without each level" if comparison.without_each_level else ""
    tuned = f" (the first seed with {len(comparison.lrs)} learning rates)" if comparison.lrs else ""
    num_stores = len(stores_of(rows))
    stores = "one store" if num_stores == 1 else f"{num_stores} stores"
    screen.print(
        f"{len(rows)} rows{more} x {len(comparison.seeds)} seeds{tuned}, "
        f"{min(num_workers(config), jobs)} at a time, from {stores}. Stopped at any time, the same "
        "command goes on."
    )


def _plan(config: RunConfig, rows: Sequence[Row], screen: Console) -> dict[str, Any]:
    """Say and return which stores would be extracted and which runs trained; write nothing."""
    _say_size(config, rows, screen)
    stores: dict[str, bool] = {}
    for location, store in stores_of(rows).items():
        sources = [given.store for given in store.dataset.keypoints.values() if given.store]
        waits = [source for source in sources if not stores.get(source, True)]
        if waits:
            stores[location] = False
            screen.print(f"{location}: to extract after {', '.join(waits)}.", soft_wrap=True)
            continue
        stores[location] = ensure_store(store, screen, dry_run=True).complete
    if all(stores.values()):
        rows = plan_rows(config, level_names(rows))
    elif config.comparison.without_each_level:
        screen.print("The rows without each level are known when the store is there.")
    jobs = plan_tuning(config, rows) or plan_jobs(config, rows)
    if config.comparison.lrs:
        screen.print("The other seeds take the best learning rate, which these runs find.")
    runs = [
        {"run": job.name, "run_dir": run_dir, "finished": finished}
        for job, run_dir, finished in finished_jobs(jobs)
    ]
    for run in runs:
        done = "finished" if run["finished"] else "to train"
        where = run["run_dir"] or "its directory follows from the store"
        screen.print(f"{run['run']}: {done}, {where}", soft_wrap=True)
    return {"stores": stores, "runs": runs}
