"""A run made ready for frames that are in no store: its detector, its crop, what must be said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cache import Skeleton
from pipeline.config import RunConfig
from pipeline.detectors import build_detector
from pipeline.errors import ConfigError, PipelineError
from pipeline.runs.config import Changes
from pipeline.runs.directories import METRICS_FILE, find_run, finished_runs, read_json
from stages.extract.crops import BoxSource, CropConfig
from stages.extract.datasets import RENDERED
from stages.extract.detectors.base import FrozenDetector
from stages.extract.jobs import feature_identity
from stages.lift import LoadedRun, load_run
from stages.lift.runs.identity import InputKind, TrainedOn, require_same_kind

_USED = ("predict", "people", "detector", "crop", "extract", "evaluate", "runs_root")
_ROUNDING = ("batch_size", "threads")
"""Settings of an extraction that change the last bits of float words only."""


@dataclass(frozen=True, eq=False)
class Setup:
    """Everything that turns pictures into poses."""

    run: LoadedRun
    config: RunConfig
    detector: FrozenDetector
    detector_skeleton: Skeleton
    crop: CropConfig
    notes: tuple[str, ...]
    """What must be said of the poses."""


def choose_run(run: Path | None, runs_root: Path) -> Path:
    """Return `run`, also when named below `runs_root`; `None`: the newest one to be used.

    Those that lifted true or imported keypoints, or maps of other frames, cannot lift new pictures.

    Raises:
        PipelineError: there is no such run.
    """
    if run is not None:
        return find_run(run, runs_root)
    for found in reversed(finished_runs(runs_root)):
        metrics = read_json(found / METRICS_FILE)
        own = metrics.get("context") in ("own", None)
        if own and metrics.get("keypoint_source") == "detector":
            return found
    raise PipelineError(
        f"{runs_root}: holds no finished run that lifts what a detector sees. Train one first:"
        " posecache lift."
    )


def refuse_unused(changes: Changes) -> None:
    """Raise ConfigError for a setting that would have no effect on a prediction."""
    for key, _ in changes:
        owner = key.split(".")[0]
        if owner in RunConfig.model_fields and owner not in _USED:
            raise ConfigError(
                f"{key}: has no effect on a prediction, which takes the run as it was trained."
                f" Settings of use here: {', '.join(_USED)}."
            )


def prepare(run_dir: Path, config: RunConfig, box_source: BoxSource) -> Setup:
    """Return the run with its detector, loaded.

    Raises:
        ConfigError: settings that exclude each other.
        DetectorError: the detector's files are not here, or it finds no joints.
        StoreMismatch: the detector is not the one that the run was trained on.
    """
    if config.predict.refine and config.predict.intrinsics is None:
        raise ConfigError("predict.refine needs the camera: --intrinsics FX,FY,CX,CY.")
    run = load_run(run_dir, weights=config.evaluate.weights)
    detector = build_detector(config.detector, threads=config.extract.threads)
    skeleton = detector.skeleton
    if skeleton is None:
        raise PipelineError(
            f"{run_dir}: its maps come from {config.detector.name}, which finds no joints; its 2D"
            " joints came with the dataset. Predict with a run on a pose detector's store."
        )
    flip = config.evaluate.flip_average
    crop = config.crop.model_copy(update={"box_source": box_source, "flip": flip})
    trained_on = run.description.trained_on
    kind = InputKind(
        name=f"the detector {config.detector.name}",
        skeleton=trained_on.skeleton,
        num_joints=trained_on.num_joints,
        keypoint_source="detector",
        keypoint_skeleton=skeleton.name,
        channels={level.name: level.channels for level in detector.levels},
        feature_identity=_comparable(feature_identity(detector, crop, config.extract)),
    )
    known = trained_on.model_copy(
        update={"feature_identity": _comparable(trained_on.feature_identity)}
    )
    require_same_kind(known, kind, allow=config.evaluate.allow)
    return Setup(run, config, detector, skeleton, crop, _notes(config, trained_on, box_source))


def rendered_note(config: RunConfig, trained_on: TrainedOn) -> str | None:
    """Return what must be said, loudly, of poses of real people; None if there is nothing.

    The store says what it was drawn by, too, whatever its dataset is called in the configuration.
    """
    names = {config.dataset.name, str(trained_on.content_identity.get("adapter"))}
    if config.predict.pictures == "rendered" or not names & RENDERED:
        return None
    return (
        "NOT FOR REAL PEOPLE: this run was trained on rendered people only"
        f" ({', '.join(sorted(names & RENDERED))}). On pictures of real ones its poses are guesses."
        " docs/predict.md names the public checkpoints and data to train with."
        " For rendered input: --set predict.pictures=rendered."
    )


def _notes(config: RunConfig, trained_on: TrainedOn, box_source: str) -> tuple[str, ...]:
    identity = trained_on.feature_identity
    trained_box = identity.get("crop", {}).get("box_source")
    notes = [rendered_note(config, trained_on)]
    if trained_box != box_source:
        notes.append(
            f"Boxes are {box_source} here and were {trained_box} in training: persons may fill"
            " another part of the crop."
        )
    if trained_on.keypoint_note is not None:
        notes.append(f"2D joints are {trained_on.keypoint_note}.")
    if "recoded" in identity:
        notes.append("The run was trained on maps that were recoded; here they are not.")
    if config.predict.refine:
        notes.append("Refined: poses are moved to fit the 2D joints, with the intrinsics given.")
    if config.predict.smooth_s:
        notes.append(f"Smoothed over time: Gaussian of {config.predict.smooth_s:g} s.")
    if config.evaluate.allow:
        notes.append(f"Differences allowed: {', '.join(config.evaluate.allow)}.")
    return tuple(note for note in notes if note is not None)


def _comparable(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity without what may differ between a store and frames of today."""
    left_out = ("recoded", "flip_rule", *_ROUNDING)
    kept = {key: value for key, value in identity.items() if key not in left_out}
    if isinstance(kept.get("crop"), dict):
        kept["crop"] = {k: v for k, v in kept["crop"].items() if k not in ("box_source", "flip")}
    if isinstance(kept.get("detector"), dict):
        kept["detector"] = {k: v for k, v in kept["detector"].items() if k != "device"}
    return kept
