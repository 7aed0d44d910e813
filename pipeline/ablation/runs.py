"""The runs of a comparison, several at a time, each found again if it is finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from threading import Thread
from typing import Any

from cache import CacheIncomplete, CacheReader
from cache.storage import open_storage
from lifter.errors import LifterError
from pipeline.ablation.orphans import deaf_to_ctrl_c, end_with_parent
from pipeline.ablation.plan import Job
from pipeline.datasets import dataset_of
from pipeline.errors import ConfigError
from pipeline.runs.lifting import LiftedRun, finished_run, lift, run_directory
from stages.lift import TrainProgress
from stages.lift.errors import NotFiniteLoss
from stages.lift.progress import Report

Update = Callable[[str, float, str], None]
_ONE_RUNS_OWN = (NotFiniteLoss, LifterError)
"""Errors of one run, which say nothing of the others: it diverged, or its lifter does not fit."""


@dataclass(frozen=True)
class Ending:
    """How a run ended."""

    run_dir: str
    note: str
    error: str | None = None
    """Why it has no result; everything below is then empty."""
    num_parameters: int = 0
    best_epoch: int = 0
    pictures: tuple[str, ...] = ()


def run_jobs(jobs: Sequence[Job], *, workers: int, update: Update) -> list[Ending]:
    """Train and evaluate every job, `workers` at a time; return how each ended, in their order.

    Jobs of equal settings are one run. A run that diverges, or whose lifter does not fit the
    store, ends with its error and the others go on; whatever would stop them too (a full disk, a
    damaged store) is raised.

    Raises ConfigError for jobs that are one run, but evaluate it in two ways.
    """
    readers = {store: CacheReader(store) for store in {job.store for job in jobs}}
    directories = [run_directory(job.config, readers[job.store]) for job in jobs]
    _refuse_two_evaluations(jobs, directories)
    ended: dict[Path, Ending] = {}
    left: dict[Path, Job] = {}
    for job, directory in zip(jobs, directories, strict=True):
        finished = finished_run(job.config, directory, readers[job.store])
        if finished is not None:
            ended[directory] = _ending(finished)
            update(job.name, 1.0, ended[directory].note)
        elif directory not in left or job.draws:
            left[directory] = job

    def end(directory: Path, ending: Ending) -> None:
        ended[directory] = ending
        update(left[directory].name, 1.0, ending.note)

    if min(workers, len(left)) <= 1:
        for directory, job in left.items():
            end(directory, _run(job, directory, partial(_say, update, job.name)))
    else:
        _run_in_processes(left, min(workers, len(left)), end, update)
    return [ended[directory] for directory in directories]


def finished_jobs(jobs: Sequence[Job]) -> list[tuple[Job, str | None, bool]]:
    """Return the jobs with their directories, and whether they are finished; writes nothing.

    The directory is None where the store is not there, or not complete: it depends on the store.

    Raises as `run_jobs`.
    """
    found: list[tuple[Job, str | None, bool]] = []
    readers = {store: _complete(store) for store in {job.store for job in jobs}}
    for job in jobs:
        reader = readers[job.store]
        if reader is None:
            found.append((job, None, False))
            continue
        directory = run_directory(job.config, reader)
        finished = finished_run(job.config, directory, reader)
        found.append((job, str(directory), finished is not None))
    placed = [(job, Path(directory)) for job, directory, _ in found if directory is not None]
    _refuse_two_evaluations([job for job, _ in placed], [directory for _, directory in placed])
    return found


def _refuse_two_evaluations(jobs: Sequence[Job], directories: Sequence[Path]) -> None:
    """Raise ConfigError where a run, which has one set of metrics, would need two."""
    first: dict[Path, Job] = {}
    for job, directory in zip(jobs, directories, strict=True):
        other = first.setdefault(directory, job)
        if other.config.evaluate != job.config.evaluate:
            raise ConfigError(
                f"comparison.rows: {other.row} and {job.row} are one run, {directory}, whose "
                "metrics are those of one evaluation, but their evaluate.* differ. Set evaluate.* "
                "for all rows with --set, and compare once for each."
            )


def _run_in_processes(
    left: Mapping[Path, Job], workers: int, end: Callable[[Path, Ending], None], update: Update
) -> None:
    context = get_context("spawn")
    with deaf_to_ctrl_c():
        manager = context.Manager()
    with manager:
        reports = manager.Queue()
        listener = Thread(target=_forward, args=(reports, update), daemon=True)
        listener.start()
        try:
            with ProcessPoolExecutor(
                workers, mp_context=context, initializer=end_with_parent
            ) as pool:
                with deaf_to_ctrl_c():
                    futures = {
                        pool.submit(_run_remote, job, directory, reports): directory
                        for directory, job in left.items()
                    }
                try:
                    for future in as_completed(futures):
                        end(futures[future], future.result())
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        finally:
            reports.put(None)
            listener.join()


def _run_remote(job: Job, directory: Path, reports: Any) -> Ending:
    def put(name: str, fraction: float, note: str) -> None:
        reports.put((name, fraction, note))

    return _run(job, directory, partial(_say, put, job.name))


def _run(job: Job, directory: Path, report: Report) -> Ending:
    dataset = dataset_of(job.config.dataset) if job.draws else None
    try:
        run = lift(job.config, CacheReader(job.store), dataset=dataset, report=report)
    except _ONE_RUNS_OWN as error:
        return Ending(str(directory), f"failed: {error}", f"{type(error).__name__}: {error}")
    return _ending(run)


def _ending(run: LiftedRun) -> Ending:
    return Ending(
        run_dir=str(run.run_dir),
        note="up to date" if run.up_to_date else f"{run.seconds_train:.0f} s",
        num_parameters=run.metrics["num_parameters"],
        best_epoch=run.metrics["epoch"],
        pictures=tuple(str(path) for path in run.pictures),
    )


def _complete(store: str) -> CacheReader | None:
    if not open_storage(store).exists():
        return None
    try:
        return CacheReader(store)
    except CacheIncomplete:
        return None


def _say(update: Update, name: str, progress: TrainProgress) -> None:
    update(name, min(progress.fraction, 0.999), progress.line())


def _forward(reports: Any, update: Update) -> None:
    while (report := reports.get()) is not None:
        update(*report)
