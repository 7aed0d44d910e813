"""`posecache evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.console import console, print_json
from pipeline.datasets import dataset_of
from pipeline.runs.config import config_of_run, runs_root_of
from pipeline.runs.directories import METRICS_FILE, find_run, read_json
from pipeline.runs.index import write_index
from pipeline.runs.lifting import draw_calibration, draw_frames
from pipeline.runs.tables import held_out_tables, joint_table, split_table
from pipeline.settings import parse_set
from pipeline.stores.facts import open_store, store_location
from stages.extract.datasets import DatasetError
from stages.lift import evaluate_run


def run_evaluate(
    run: Path | None, *, store: str | None, sets: Sequence[str], as_json: bool
) -> None:
    """Evaluate a run with the configuration that it was made with, changed by `sets`."""
    changes = [parse_set(text) for text in sets]
    runs_root = runs_root_of(changes)
    run_dir = find_run(run, runs_root)
    config = config_of_run(run_dir, changes)
    reader = open_store(store or store_location(config))
    evaluations = evaluate_run(run_dir, reader, config.evaluate)
    try:
        dataset = dataset_of(config.dataset)
    except DatasetError:
        pictures: tuple[Path, ...] = ()
    else:
        pictures = draw_frames(evaluations, reader, dataset, run_dir)
    pictures += draw_calibration(evaluations, run_dir)
    if run_dir.resolve().is_relative_to(runs_root.resolve()):
        write_index(runs_root)
    metrics = read_json(run_dir / METRICS_FILE)
    if as_json:
        print_json(metrics)
        return
    screen = console()
    screen.print(split_table(metrics))
    for table in held_out_tables(metrics):
        screen.print(table)
    screen.print(joint_table(metrics))
    for split, evaluation in evaluations.items():
        screen.print(f"{split}: {evaluation.maps}", soft_wrap=True)
    screen.print(f"run: {run_dir}", soft_wrap=True)
    for picture in pictures:
        screen.print(f"picture: {picture}", soft_wrap=True)
