"""Stage 2 as the commands see it: one run, trained, evaluated, with its pictures and its origin."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cache import CacheReader
from cache.fingerprint import diff_identities, fingerprint
from pipeline.config import RunConfig
from pipeline.runs.directories import (
    CONFIG_FILE,
    METRICS_FILE,
    PROVENANCE_FILE,
    provenance,
    read_json,
    writable_folder,
    write_json,
)
from pipeline.runs.index import write_index
from stages.extract.datasets import Dataset, DatasetError, FrameError
from stages.lift import EvaluateConfig, Evaluation, evaluate_run, train
from stages.lift.calibration_figure import plot_calibration
from stages.lift.feed.samples import store_name
from stages.lift.figures import plot_frames
from stages.lift.processes.world import ALONE, World
from stages.lift.progress import Report

_PICTURES = ("frames", "calibration")


@dataclass(frozen=True)
class LiftedRun:
    """A trained and evaluated run."""

    run_dir: Path
    metrics: Mapping[str, Any]
    """What `evaluate_run` wrote: errors by split, `num_parameters`, the chosen `epoch`."""
    dropped_rows: Mapping[str, Mapping[str, int]]
    """Rows left out of training, by split and reason."""
    up_to_date: bool
    seconds_train: float
    seconds_evaluate: float
    feeding: str
    """Where the maps were and how long training waited for them; empty if nothing was trained."""
    pictures: tuple[Path, ...]


def run_directory(config: RunConfig, reader: CacheReader, world: World = ALONE) -> Path:
    """Return the directory of the run that `config` describes on this store.

    The name ends in a hash of everything that decides the weights, so that the same command finds
    its own run again, and any change makes another one. Settings at their defaults are left out:
    an option that a later version adds leaves the runs there are where they are.
    """
    decides: dict[str, Any] = {
        "train": config.train.decisive(changed_only=True),
        "lifter": config.lifter.model_dump(mode="json", exclude_defaults=True),
        "features": dict(reader.feature_identity),
        "content": dict(reader.content_identity),
    }
    if world.size > 1:
        decides["processes"] = world.size
    data = config.train.data
    words = [reader.name, config.lifter.name]
    words += [data.context] if data.context != "own" else []
    words += [data.keypoint_source] if data.keypoint_source != "detector" else []
    words += [f"s{config.train.seed}", fingerprint(decides)[:8]]
    return config.runs_root / "-".join(words).replace(":", "-")


def lift(
    config: RunConfig,
    reader: CacheReader,
    *,
    dataset: Dataset | None = None,
    report: Report | None = None,
    world: World = ALONE,
) -> LiftedRun:
    """Train and evaluate the run of `config` unless that is done, and return it.

    With a `dataset`, a picture of the best, median and worst frame of each test split is drawn.
    Of several processes, the one that leads calls this and the others `help_lift`; it evaluates
    alone, and nobody waits for it.
    """
    run_dir = run_directory(config, reader, world)
    done = finished_run(config, run_dir, reader)
    world.from_leader(done is None)
    if done is not None:
        return done
    writable_folder(config.runs_root, "runs_root")
    start = time.perf_counter()
    summary = train(config.train, config.lifter, reader, run_dir, progress=report, world=world)
    trained = time.perf_counter()
    evaluations = evaluate_run(run_dir, reader, config.evaluate)
    evaluated = time.perf_counter()
    pictures = draw_frames(evaluations, reader, dataset, run_dir) if dataset else ()
    pictures += draw_calibration(evaluations, run_dir)
    seconds = {"train": trained - start, "evaluate": evaluated - trained}
    finished = {"finished": datetime.now(UTC).isoformat(timespec="seconds")}
    write_json(run_dir / PROVENANCE_FILE, provenance(seconds) | finished)
    write_json(run_dir / CONFIG_FILE, config.dump())
    write_index(config.runs_root)
    return LiftedRun(
        run_dir=run_dir,
        metrics=read_json(run_dir / METRICS_FILE),
        dropped_rows=summary.dropped_rows,
        up_to_date=False,
        seconds_train=seconds["train"],
        seconds_evaluate=seconds["evaluate"],
        feeding=summary.feeding(),
        pictures=pictures,
    )


def help_lift(config: RunConfig, reader: CacheReader, world: World) -> None:
    """Train this process's part of the run that another process leads, if there is one to train."""
    if world.from_leader(False):
        train(
            config.train, config.lifter, reader, run_directory(config, reader, world), world=world
        )


def finished_run(config: RunConfig, run_dir: Path, reader: CacheReader) -> LiftedRun | None:
    """Return the run in `run_dir` if it is trained, and evaluated as `config` says on this store.

    The configuration is written last, so its presence says that all the rest is there. A run may
    have been evaluated on another store since.
    """
    metrics_file, config_file = run_dir / METRICS_FILE, run_dir / CONFIG_FILE
    if not (metrics_file.is_file() and config_file.is_file()):
        return None
    metrics = read_json(metrics_file)
    # Settings that the metrics do not name came later: what they describe had the defaults.
    defaults = EvaluateConfig().model_dump(mode="json")
    asked = config.evaluate.model_dump(mode="json")
    name = store_name(reader)
    if {**defaults, **metrics.get("evaluate", {})} != asked or metrics.get("store", name) != name:
        return None
    return LiftedRun(
        run_dir=run_dir,
        metrics=metrics,
        dropped_rows={},
        up_to_date=True,
        seconds_train=0.0,
        seconds_evaluate=0.0,
        feeding="",
        pictures=tuple(
            file for kind in _PICTURES for file in sorted(run_dir.glob(f"{kind}-*.png"))
        ),
    )


def draw_frames(
    evaluations: Mapping[str, Evaluation],
    reader: CacheReader,
    dataset: Dataset,
    run_dir: Path,
) -> tuple[Path, ...]:
    """Draw the best, median and worst frame of every test split; return the files.

    Nothing is drawn of a dataset that is not the store's, nor of a split whose pictures are not on
    this machine: stage 2 needs the store only.
    """
    if diff_identities(reader.content_identity, dataset.content_identity()):
        return ()
    files = []
    for split, evaluation in evaluations.items():
        if not split.startswith("test"):
            continue
        path = run_dir / f"frames-{split}.png"
        try:
            plot_frames(evaluation, reader, dataset.load_image, path)
        except (DatasetError, FrameError):
            continue
        files.append(path)
    return tuple(files)


def draw_calibration(evaluations: Mapping[str, Evaluation], run_dir: Path) -> tuple[Path, ...]:
    """Draw of every split whether the predicted scales hold; return the files.

    Nothing is drawn of a lifter without scales.
    """
    files = []
    for split, evaluation in evaluations.items():
        uncertainty = evaluation.metrics.get("uncertainty")
        if uncertainty is None:
            continue
        path = run_dir / f"calibration-{split}.png"
        plot_calibration(uncertainty, path, title=f"{split}: predicted scales against errors")
        files.append(path)
    return tuple(files)
