"""The runs of a study: which they are, and that they are of one store."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache.fingerprint import diff_identities
from pipeline.config import RunConfig
from pipeline.errors import ConfigError, PipelineError
from pipeline.runs.config import config_of_run
from pipeline.runs.directories import find_run
from pipeline.runs.index import Entry, list_runs
from stages.lift import LoadedRun, StoreMismatch, load_run
from stages.lift.feed.windows import windowing_of


@dataclass(frozen=True, eq=False)
class Subject:
    """A run whose errors are followed."""

    name: str
    run: LoadedRun
    config: RunConfig

    @property
    def reads_maps(self) -> bool:
        """Whether what it says depends on maps."""
        return bool(self.run.level_names) and self.run.config.data.context != "none"

    @property
    def is_shuffled(self) -> bool:
        """Whether it is the control that sees the maps of other frames."""
        return bool(self.run.level_names) and self.run.config.data.context == "shuffled"

    def facts(self) -> dict[str, Any]:
        """Return what results say of it, and what decides them."""
        weights = 0
        for tensor in self.run.model.state_dict().values():
            weights = zlib.crc32(tensor.contiguous().numpy().tobytes(), weights)
        context = self.run.config.data.context if self.run.level_names else "none"
        return {
            "name": self.name,
            "lifter": self.run.description.lifter.name,
            "context": context,
            "seed": self.run.config.seed,
            "weights": self.run.weights,
            "epoch": self.run.epoch,
            "weights_crc32": weights,
            "flip_average": self.config.evaluate.flip_average,
            "zero_root": self.config.evaluate.zero_root,
        }


def choose_runs(named: Sequence[Path], runs_root: Path) -> list[Path]:
    """Return the directories of the runs named, or of the newest `capf` run and its control.

    Raises PipelineError for a run that is not there, ConfigError for one that is named twice.
    """
    if not named:
        return _newest_pair(runs_root)
    found = [find_run(run, runs_root) for run in named]
    names = [run.resolve().name for run in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: named twice. Name every run once.")
    return found


def load_subjects(
    run_dirs: Sequence[Path], changes: Sequence[tuple[str, Any]]
) -> tuple[Subject, ...]:
    """Return the runs, loaded.

    Raises:
        StoreMismatch: they were not trained on one store.
        PipelineError: a run that cannot be followed: of windows, of points, refined, of other 2D
            joints than the detector's.
    """
    subjects = []
    for run_dir in run_dirs:
        config = config_of_run(run_dir, changes)
        run = load_run(run_dir, weights=config.evaluate.weights)
        subject = Subject(run_dir.resolve().name, run, config)
        _require_fit_for_study(subject)
        subjects.append(subject)
    first = subjects[0].run.description.trained_on
    for subject in subjects[1:]:
        trained_on = subject.run.description.trained_on
        differences = [
            *diff_identities(first.feature_identity, trained_on.feature_identity),
            *diff_identities(first.content_identity, trained_on.content_identity),
        ]
        if differences:
            raise StoreMismatch(
                f"{subject.name} was not trained on the store of {subjects[0].name}"
                f" ({differences[0]}). Name runs of one store, so that all see the same frames;"
                " 'posecache list-runs' shows the store of each."
            )
    return tuple(subjects)


def baseline_of(subjects: Sequence[Subject]) -> Subject | None:
    """Return the first run that sees 2D joints only, which the others are held against."""
    return next((subject for subject in subjects if not subject.reads_maps), None)


def _require_fit_for_study(subject: Subject) -> None:
    description, config = subject.run.description, subject.config
    problem = None
    if windowing_of(description.lifter, subject.run.config.data) is not None:
        problem = "lifts windows of frames, and here are single ones"
    elif description.trained_on.points is not None:
        problem = "was trained on a point cache; train it on the full store"
    elif description.trained_on.keypoint_source != "detector":
        problem = f"lifts 2D joints {description.trained_on.keypoint_source!r}, not the detector's"
    elif config.evaluate.refine != "none":
        problem = "is refined; follow its own poses: --set evaluate.refine=none"
    if problem is not None:
        raise PipelineError(f"{subject.name}: {problem}. Leave it out, or name another run.")


def _newest_pair(runs_root: Path) -> list[Path]:
    usable = [
        entry
        for entry in list_runs(runs_root)
        if entry["state"] == "finished"
        and entry["keypoints"] == "detector"
        and entry["num_frames"] == 1
    ]
    newest = sorted(usable, key=lambda entry: str(entry["finished"]))
    context = [entry for entry in newest if _is(entry, "capf", "own")]
    if not context:
        raise PipelineError(
            f"{runs_root}: holds no finished capf run on a detector's joints. Name runs, or train"
            " one: posecache lift --lifter capf."
        )
    chosen = context[-1]
    controls = [
        entry
        for entry in newest
        if entry["lifter"] == "pose_only" and entry["store"] == chosen["store"]
    ]
    if not controls:
        raise PipelineError(
            f"{runs_root}: holds no finished pose_only run on {chosen['store']} to hold"
            f" {chosen['name']} against. Train it: posecache lift --lifter pose_only."
        )
    # Equal training tells more than a date; of equals the newest.
    control = max(
        controls, key=lambda entry: [entry[key] == chosen[key] for key in ("steps", "seed")]
    )
    return [runs_root / str(control["name"]), runs_root / str(chosen["name"])]


def _is(entry: Entry, lifter: str, context: str) -> bool:
    return bool(entry["lifter"] == lifter and entry["context"] == context)
