"""Lifters side by side: one store, several seeds, equal settings, paired differences."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

from cache import CacheReader
from cache.fingerprint import fingerprint
from pipeline.config import RunConfig, with_settings
from pipeline.datasets import dataset_of
from pipeline.errors import ConfigError
from pipeline.lifting import (
    LiftedRun,
    finished_run,
    lift,
    progress_note,
    run_directory,
    training_rate,
)
from pipeline.runs import provenance, read_json, write_json
from pipeline.settings import did_you_mean
from pipeline.stores import keypoint_errors
from stages.lift import TrainProgress, compare_metrics
from stages.lift.progress import Report
from stages.lift.sources import box_source, feature_source

RESULT_FILE = "comparison.json"

Update = Callable[[str, float, str], None]


@dataclass(frozen=True)
class Job:
    """One run of a comparison."""

    row: str
    seed: int
    config: RunConfig

    @property
    def name(self) -> str:
        """What progress calls it."""
        return f"{self.row} seed {self.seed}"


def plan_jobs(config: RunConfig) -> list[Job]:
    """Return the runs of a comparison, seed by seed; raises ConfigError for an unknown row."""
    comparison = config.comparison
    if not comparison.rows:
        raise ConfigError("comparison.rows is empty: name at least one row and what it changes.")
    for pair in comparison.differences:
        for name in pair:
            if name not in comparison.rows:
                known = tuple(comparison.rows)
                raise ConfigError(
                    f"comparison.differences: there is no row {name!r}{did_you_mean(name, known)}."
                )
    # A thread each: the runs of a comparison already fill the cores, and the number of threads
    # is part of what decides float words.
    threads = config.train.threads or 1
    jobs = []
    for seed in comparison.seeds:
        for row, changes in comparison.rows.items():
            settings = {"train.threads": threads, **changes, "train.seed": seed}
            jobs.append(Job(row, seed, with_settings(config, settings)))
    return jobs


def run_jobs(
    jobs: Sequence[Job], store: Path | str, *, workers: int, update: Update
) -> dict[tuple[str, int], dict[str, Any]]:
    """Train and evaluate every job, `workers` at a time; return their ends by (row, seed)."""
    reader = CacheReader(store)
    done: dict[tuple[str, int], dict[str, Any]] = {}

    def end(job: Job, result: dict[str, Any]) -> None:
        done[job.row, job.seed] = result
        update(job.name, 1.0, result["note"])

    left = []
    for job in jobs:
        finished = finished_run(job.config, run_directory(job.config, reader))
        if finished is None:
            left.append(job)
        else:
            end(job, _ending(finished))
    if min(workers, len(left)) <= 1:
        for job in left:
            report = partial(_update, update, job.name)
            end(job, _run_job(job.config, store, draw=_is_drawn(job), report=report))
        return done
    context = get_context("spawn")
    with context.Manager() as manager:
        reports = manager.Queue()
        listener = Thread(target=_forward, args=(reports, update), daemon=True)
        listener.start()
        with ProcessPoolExecutor(min(workers, len(left)), mp_context=context) as pool:
            futures = {
                pool.submit(_run_remote, job, store, draw=_is_drawn(job), reports=reports): job
                for job in left
            }
            try:
                for future in as_completed(futures):
                    end(futures[future], future.result())
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        reports.put(None)
        listener.join()
    return done


def compare_rows(
    config: RunConfig,
    store: Path | str,
    *,
    update: Update,
    seconds: Mapping[str, float],
    rates: Mapping[str, float],
) -> dict[str, Any]:
    """Run the comparison of `config` on a complete store and return its result.

    The result is also written as `comparison.json` in a folder of its own below `runs_root`.
    """
    reader = CacheReader(store)
    jobs = plan_jobs(config)
    workers = config.comparison.workers or os.cpu_count() or 1
    start = time.perf_counter()
    ended = run_jobs(jobs, store, workers=workers, update=update)
    wall = time.perf_counter() - start
    rows = [_row(name, jobs, ended, reader, config) for name in config.comparison.rows]
    splits = [split for split in rows[0]["mpjpe_mm"] if split.startswith("test")]
    result: dict[str, Any] = {
        "store": f"{reader.name}.zarr",
        "seeds": list(config.comparison.seeds),
        "splits": splits,
        "rows": rows,
        "differences": [_difference(a, b, splits, rows) for a, b in config.comparison.differences],
        "keypoint_errors": keypoint_errors(reader),
        "seconds": {**seconds, "train and evaluate": wall},
        "rates": {**rates, **_training_rates(jobs, ended)},
        "workers": workers,
        "pictures": sorted({path for entry in ended.values() for path in entry["pictures"]}),
    }
    identity = {"rows": [row["runs"] for row in rows], "evaluate": config.evaluate.model_dump()}
    folder = config.runs_root / f"comparison-{reader.name}-{fingerprint(identity)[:8]}"
    result["result_file"] = str(folder / RESULT_FILE)
    write_json(folder / "config.json", config.dump())
    write_json(folder / "provenance.json", provenance(result["seconds"]))
    write_json(folder / RESULT_FILE, result)
    return result


def _run_remote(job: Job, store: Path | str, *, draw: bool, reports: Any) -> dict[str, Any]:
    def put(name: str, fraction: float, note: str) -> None:
        reports.put((name, fraction, note))

    return _run_job(job.config, store, draw=draw, report=partial(_update, put, job.name))


def _run_job(config: RunConfig, store: Path | str, *, draw: bool, report: Report) -> dict[str, Any]:
    dataset = dataset_of(config.dataset) if draw else None
    return _ending(lift(config, CacheReader(store), dataset=dataset, report=report))


def _ending(run: LiftedRun) -> dict[str, Any]:
    return {
        "run_dir": str(run.run_dir),
        "note": "up to date" if run.up_to_date else f"{run.seconds_train:.0f} s",
        "num_parameters": run.metrics["num_parameters"],
        "best_epoch": run.metrics["epoch"],
        "pictures": [str(path) for path in run.pictures],
    }


def _update(update: Update, name: str, progress: TrainProgress) -> None:
    update(name, min(progress.fraction, 0.999), progress_note(progress))


def _forward(reports: Any, update: Update) -> None:
    while (report := reports.get()) is not None:
        update(*report)


def _is_drawn(job: Job) -> bool:
    comparison = job.config.comparison
    return job.row == comparison.pictures_of and job.seed == comparison.seeds[0]


def _row(
    name: str,
    jobs: Sequence[Job],
    ended: Mapping[tuple[str, int], Mapping[str, Any]],
    reader: CacheReader,
    config: RunConfig,
) -> dict[str, Any]:
    mine = [job for job in jobs if job.row == name]
    runs = [str(ended[name, job.seed]["run_dir"]) for job in mine]
    metrics = [read_json(Path(run) / "metrics.json") for run in runs]
    data = mine[0].config.train.data
    context = metrics[0]["context"]
    reads_maps = context in ("own", "shuffled")
    return {
        "name": name,
        "lifter": mine[0].config.lifter.name,
        "context": context or "none",
        "keypoint_source": data.keypoint_source,
        "feature_source": _feature_source(reader, config) if reads_maps else "-",
        "box_source": box_source(reader),
        "num_parameters": ended[name, mine[0].seed]["num_parameters"],
        "best_epochs": [ended[name, job.seed]["best_epoch"] for job in mine],
        "runs": runs,
        "mpjpe_mm": _per_split(metrics, "mpjpe_mm"),
        "p_mpjpe_mm": _per_split(metrics, "p_mpjpe_mm"),
        "notes": metrics[0].get("notes", []),
    }


def _feature_source(reader: CacheReader, config: RunConfig) -> str:
    # A store that is named itself need not be of the detector of the configuration.
    return config.detector.name if config.store is None else feature_source(reader)


def _per_split(metrics: Sequence[Mapping[str, Any]], name: str) -> dict[str, list[float]]:
    """Return the frame-wise metric of every seed by split."""
    return {
        split: [float(one["splits"][split]["frame_wise"][name]) for one in metrics]
        for split in metrics[0]["splits"]
    }


def _difference(
    a: str, b: str, splits: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    runs = {
        row["name"]: [read_json(Path(run) / "metrics.json") for run in row["runs"]] for row in rows
    }
    found = {}
    for split in splits:
        # compare_metrics says second minus first.
        comparison = compare_metrics(runs[b], runs[a], split)
        found[split] = {
            "mean_mm": comparison.difference_mm,
            "low_mm": comparison.low_mm,
            "high_mm": comparison.high_mm,
            "num_clips": comparison.num_clips,
        }
    return {"a": a, "b": b, "splits": found}


def _training_rates(
    jobs: Sequence[Job], ended: Mapping[tuple[str, int], Mapping[str, Any]]
) -> dict[str, float]:
    rates: dict[str, list[float]] = {}
    for job in jobs:
        rate = training_rate(Path(ended[job.row, job.seed]["run_dir"]))
        if rate is not None:
            rates.setdefault(job.row, []).append(rate)
    return {f"train {row}": sum(values) / len(values) for row, values in rates.items()}
