"""`posecache lift`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from cache import CacheReader
from lifter.registry import LIFTERS
from pipeline.config import load_config
from pipeline.console import Meter, console, print_json
from pipeline.datasets import dataset_of
from pipeline.errors import ConfigError
from pipeline.extraction.extracted import complete_store, ensure_store
from pipeline.runs.lifting import LiftedRun, help_lift, lift, run_directory
from pipeline.runs.tables import groups_text, held_out_tables, split_table
from pipeline.settings import did_you_mean
from stages.lift import TrainProgress, planned_groups
from stages.lift.processes.distributed import open_world
from stages.lift.processes.world import World


def run_lift(
    preset: str,
    *,
    dataset: str | None,
    detector: str | None,
    lifter: str | None,
    device: str | None,
    sets: Sequence[str],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the store if it is missing, train, evaluate, and print the result."""
    with open_world() as world:
        _lift(
            preset,
            dataset=dataset,
            detector=detector,
            lifter=lifter,
            device=device,
            sets=sets,
            dry_run=dry_run,
            as_json=as_json,
            world=world,
        )


def _lift(
    preset: str,
    *,
    dataset: str | None,
    detector: str | None,
    lifter: str | None,
    device: str | None,
    sets: Sequence[str],
    dry_run: bool,
    as_json: bool,
    world: World,
) -> None:
    config = load_config(
        preset, dataset=dataset, detector=detector, lifter=lifter, device=device, sets=sets
    )
    _refuse_unknown_lifter(config.lifter.name)
    screen = console(quiet=as_json or not world.leads)
    if world.size > 1:
        # Processes that all extracted one store would be in each other's way.
        state = complete_store(config, screen)
    else:
        state = ensure_store(config, screen, dry_run=dry_run)
    if not world.leads:
        if not dry_run:
            help_lift(config, CacheReader(state.location), world)
        return
    if dry_run:
        run_dir = None
        if state.complete:
            run_dir = str(run_directory(config, CacheReader(state.location), world))
        plan = {"store": state.location, "store_complete": state.complete, "run": run_dir}
        if as_json:
            print_json(plan)
        else:
            screen.print(f"would train {config.lifter.name} into {run_dir or config.runs_root}")
        return
    reader = CacheReader(state.location)
    groups = planned_groups(config.train, config.lifter, reader)
    screen.print(groups_text(groups), soft_wrap=True)
    if LIFTERS[config.lifter.name].reads_windows and config.lifter.num_frames == 1:
        screen.print(
            f"note: {config.lifter.name} reads windows, and lifter.num_frames is 1: a single frame."
            " For more: --set lifter.num_frames=27.",
            soft_wrap=True,
        )

    def report(progress: TrainProgress) -> None:
        meter.update(
            config.lifter.name,
            min(progress.fraction, 0.999),
            progress.line(),
            seconds_left=progress.eta_s,
        )

    with Meter(screen) as meter:
        source = dataset_of(config.dataset)
        run = lift(config, reader, dataset=source, report=report, world=world)
        done = "up to date" if run.up_to_date else f"{run.seconds_train:.0f} s"
        meter.update(config.lifter.name, 1.0, done)
    if as_json:
        print_json({**_as_json(run), "parameter_groups": [asdict(group) for group in groups]})
        return
    if run.up_to_date:
        screen.print(f"{run.run_dir}: up to date, nothing to do.", soft_wrap=True)
    screen.print(split_table(run.metrics))
    for table in held_out_tables(run.metrics):
        screen.print(table)
    if run.feeding:
        screen.print(run.feeding, soft_wrap=True)
    screen.print(f"run: {run.run_dir}", soft_wrap=True)
    for picture in run.pictures:
        screen.print(f"picture: {picture}", soft_wrap=True)


def _refuse_unknown_lifter(name: str) -> None:
    # Before the extraction, which may take hours, and not only when the lifter is built.
    if name not in LIFTERS:
        raise ConfigError(
            f"lifter.name: there is no lifter {name!r}{did_you_mean(name, tuple(LIFTERS))} "
            f"Lifters: {', '.join(LIFTERS)}."
        )


def _as_json(run: LiftedRun) -> dict[str, Any]:
    return {
        "run_dir": str(run.run_dir),
        "up_to_date": run.up_to_date,
        "dropped_rows": run.dropped_rows,
        "seconds": {"train": run.seconds_train, "evaluate": run.seconds_evaluate},
        "metrics": run.metrics,
        "pictures": [str(picture) for picture in run.pictures],
    }
