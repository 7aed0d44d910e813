"""A finished run with its predictions, evaluated again; nothing is written."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cache import CacheReader
from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.runs.config import config_of_run
from pipeline.runs.directories import METRICS_FILE, PROVENANCE_FILE, read_json
from pipeline.stores.facts import open_store, store_location
from stages.lift import EvaluateConfig, Evaluation, LoadedRun, evaluate, load_run
from stages.lift.feed.samples import store_name
from stages.lift.feed.windows import windowing_of

TOLERANCE_MM = 0.01
"""Recomputed errors may differ by this from `metrics.json`: another device or thread count rounds
sums in another order, by far less; numbers are shown to 0.1 mm."""

Progress = Callable[[str, float], None]


@dataclass(frozen=True)
class ReportRun:
    """A finished run, its files, its store and its predictions."""

    run_dir: Path
    config: RunConfig
    metrics: Mapping[str, Any]
    provenance: Mapping[str, Any]  # empty where the file is missing
    loaded: LoadedRun
    location: str  # of the store
    reader: CacheReader
    evaluate: EvaluateConfig  # as it was evaluated
    evaluations: Mapping[str, Evaluation]  # by split, those of `metrics`

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.run_dir.resolve().name

    @property
    def test_splits(self) -> tuple[str, ...]:
        """Test splits, or all where there is none."""
        tests = tuple(split for split in self.evaluations if split.startswith("test"))
        return tests or tuple(self.evaluations)

    def differences_mm(self) -> dict[str, float]:
        """Return by split the recomputed MPJPE minus that of `metrics.json`."""
        return {
            split: evaluation.metrics["frame_wise"]["mpjpe_mm"]
            - self.metrics["splits"][split]["frame_wise"]["mpjpe_mm"]
            for split, evaluation in self.evaluations.items()
        }


def read_run(
    run_dir: Path,
    *,
    store: str | None = None,
    changes: Sequence[tuple[str, Any]] = (),
    splits: Sequence[str] | None = None,
    progress: Progress,
) -> ReportRun:
    """Return a run, evaluated as its `metrics.json` says, on every split of it or on `splits`.

    Args:
        run_dir: directory of a finished run.
        store: folder or URL; None: where the configuration says.
        changes: settings to change, e.g. `evaluate.device`.
        splits: of those in `metrics.json`.
        progress: is told the name of the run and how much of it is done.

    Raises:
        PipelineError: the run is not finished, or the store is not the one it was evaluated on.
    """
    metrics = read_json(run_dir / METRICS_FILE)
    config = config_of_run(run_dir, changes, evaluated=metrics.get("evaluate", {}))
    location = store or store_location(config)
    reader = open_store(location)
    expected = metrics.get("store", store_name(reader))
    if store_name(reader) != expected:
        raise PipelineError(
            f"{run_dir}: was evaluated on {expected}, not on {store_name(reader)}. "
            f"Name that store: --store DIR/{expected}."
        )
    loaded = load_run(run_dir, weights=config.evaluate.weights)
    provenance_file = run_dir / PROVENANCE_FILE
    chosen = tuple(splits or metrics["splits"])
    return ReportRun(
        run_dir=run_dir,
        config=config,
        metrics=metrics,
        provenance=read_json(provenance_file) if provenance_file.is_file() else {},
        loaded=loaded,
        location=location,
        reader=reader,
        evaluate=config.evaluate,
        evaluations=_evaluate_again(loaded, reader, config.evaluate, chosen, progress),
    )


def require_same_frames(runs: Sequence[ReportRun], split: str, *, all_of_them: bool) -> None:
    """Raise PipelineError unless equal rows of a split are the same frames in all runs.

    Args:
        runs: evaluated on `split`.
        split: its name.
        all_of_them: none may have rows that another does not have.
    """
    first, *others = (run.evaluations[split] for run in runs)
    for run, other in zip(runs[1:], others, strict=True):
        rows, mine, theirs = np.intersect1d(first.rows, other.rows, return_indices=True)
        fits = len(rows) > 0 and np.allclose(
            first.true_mm[mine], other.true_mm[theirs], atol=TOLERANCE_MM
        )
        if not fits or (all_of_them and not np.array_equal(first.rows, other.rows)):
            raise PipelineError(
                f"{run.run_dir}: its rows of {split!r} are not the frames of {runs[0].run_dir}:"
                " they read other stores. Evaluate both on one store, or make a page of each."
            )


def _evaluate_again(
    run: LoadedRun,
    reader: CacheReader,
    config: EvaluateConfig,
    splits: Sequence[str],
    progress: Progress,
) -> dict[str, Evaluation]:
    data = run.config.data
    if config.keypoint_source:
        data = data.model_copy(update={"keypoint_source": config.keypoint_source})
    run.require_fit(reader, keypoint_source=data.keypoint_source, allow=config.allow)
    name = run.run_dir.resolve().name
    found = {}
    for index, split in enumerate(splits):
        progress(name, index / len(splits))
        found[split] = evaluate(
            run.model,
            reader,
            split,
            config,
            data=data,
            level_names=run.level_names,
            windowing=windowing_of(run.description.lifter, data),
        )
    progress(name, 1.0)
    return found
