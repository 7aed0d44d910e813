"""`posecache ablate`, and `posecache demo`, which is its preset without data."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.ablation import compare_rows, plan_jobs
from pipeline.config import load_config
from pipeline.console import Meter, console, print_json
from pipeline.extraction import ensure_store
from pipeline.runs import write_json
from pipeline.tables import (
    comparison_table,
    detector_error_table,
    difference_table,
    seconds_text,
)


def run_ablate(
    preset: str,
    *,
    dataset: str | None = None,
    detector: str | None = None,
    device: str | None = None,
    sets: Sequence[str] = (),
    dry_run: bool,
    as_json: bool,
) -> None:
    """Extract, train the rows of the preset, and print their table."""
    start = time.perf_counter()
    config = load_config(preset, dataset=dataset, detector=detector, device=device, sets=sets)
    screen = console(quiet=as_json)
    jobs = plan_jobs(config)
    workers = min(config.comparison.workers or os.cpu_count() or 1, len(jobs))
    screen.print(
        f"{len(config.comparison.rows)} rows x {len(config.comparison.seeds)} seeds = {len(jobs)} "
        f"runs, {workers} at a time, from one store. Stopped at any time, the same command goes on."
    )
    state = ensure_store(config, screen, dry_run=dry_run)
    if dry_run:
        plan = {"store": state.location, "runs": [job.name for job in jobs]}
        if as_json:
            print_json(plan)
        else:
            screen.print(f"would train: {', '.join(plan['runs'])}", soft_wrap=True)
        return
    with Meter(screen) as meter:
        result = compare_rows(
            config, state.location, update=meter.update, seconds=state.seconds, rates=state.rates
        )
    result["seconds"]["all"] = time.perf_counter() - start
    write_json(Path(result["result_file"]), result)
    if as_json:
        print_json(result)
    else:
        _show(screen, result)


def _show(screen: Console, result: dict[str, Any]) -> None:
    screen.print(comparison_table(result))
    if result["differences"]:
        screen.print(difference_table(result))
    if result["keypoint_errors"]:
        screen.print(detector_error_table(result["keypoint_errors"]))
    screen.print(f"time: {seconds_text(result['seconds'])}", soft_wrap=True)
    rates = ", ".join(f"{name} {rate:.0f}" for name, rate in result["rates"].items())
    screen.print(f"frames/s: {rates} (each on one of {result['workers']} workers)", soft_wrap=True)
    for picture in result["pictures"]:
        screen.print(f"picture: {picture}", soft_wrap=True)
    screen.print(f"result: {result['result_file']}", soft_wrap=True)
