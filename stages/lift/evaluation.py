"""Evaluation of a lifter, one split at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cache import CacheReader
from stages.lift.config import DataConfig, EvaluateConfig
from stages.lift.devices import torch_settings, use_device
from stages.lift.errors import EmptySplit, NotFiniteLoss
from stages.lift.feed.batches import LiftData
from stages.lift.feed.levels import sampling_backend
from stages.lift.feed.residency import place_maps
from stages.lift.feed.samples import METRES_PER_MM, splits_of
from stages.lift.feed.windows import Windowing, windowing_of
from stages.lift.predictions import predict_mm
from stages.lift.runs.checkpoints import LoadedRun, load_run
from stages.lift.runs.rundir import METRICS_FILE, write_json
from stages.lift.scores import mean_of_groups, score_frames, summarise, summarise_groups
from stages.lift.sources import sources_of


@dataclass(frozen=True)
class Evaluation:
    """Predictions on one split, and their metrics."""

    split: str
    keypoint_source: str
    rows: NDArray[np.int64]  # [n] of the store
    keypoints_px: NDArray[np.float32]  # [n, J, 2] of the picture, as the lifter saw them
    predicted_mm: NDArray[np.float64]  # [n, J, 3] camera frame, relative to the root
    true_mm: NDArray[np.float64]  # [n, J, 3]
    frame_mpjpe_mm: NDArray[np.float64]  # [n]
    metrics: dict[str, Any]  # plain containers; see `evaluate`
    maps: str  # where they were read from, how large and why


def evaluate(
    model: nn.Module,
    reader: CacheReader,
    split: str,
    config: EvaluateConfig,
    *,
    data: DataConfig,
    level_names: Collection[str],
    windowing: Windowing | None = None,
) -> Evaluation:
    """Returns the predictions and metrics of a model on one split.

    The metrics: `frame_wise` (every frame counts once), `action_wise` (unweighted mean over the
    actions, as in the papers), `per_action`, `per_joint` (MPJPE), `per_clip`, and the counts of
    frames left out by reason. MPJVE compares only frames that follow each other inside a clip.

    Raises `EmptySplit` if the split has no usable row, `NotFiniteLoss` for a prediction that is
    not finite, `DoesNotFit` if `config.residency` names a memory that is too small.
    """
    device = use_device(config.device)
    lift_data = LiftData(
        reader,
        split,
        config=data,
        level_names=tuple(level_names),
        flipped=config.flip_average,
        windowing=windowing,
        complete_labels=True,
        device=device,
    )
    placement = place_maps([lift_data], config.residency, device=device, passes=1)
    with torch_settings(config.threads):
        predicted_mm = predict_mm(
            model.to(device),
            lift_data,
            batch_size=config.batch_size,
            flip_average=config.flip_average,
            device=device,
            feed=config,
        )
    samples = lift_data.samples
    true_mm = samples.target_m[0].astype(np.float64) / METRES_PER_MM
    root = reader.label_skeleton.root
    if config.zero_root:
        predicted_mm[:, root] = 0.0
    if not np.isfinite(predicted_mm).all():
        bad = samples.rows[~np.isfinite(predicted_mm).all(axis=(1, 2))]
        raise NotFiniteLoss(
            f"The predictions of {len(bad)} rows of {split!r} are not finite (first store rows:"
            f" {bad[:5].tolist()}). 'posecache cache verify' checks the maps."
        )
    scores = score_frames(
        predicted_mm,
        true_mm,
        follows=follows_previous(
            samples.rows, samples.clips, reader.index("frame").codes[samples.rows]
        ),
        pck_threshold_mm=config.pck_threshold_mm,
        skeleton=reader.label_skeleton.name,
    )
    actions = _words(reader, "action", samples.rows)
    per_action = summarise_groups(scores, actions)
    per_clip = summarise_groups(scores, _words(reader, "clip", samples.rows))
    metrics = {
        "num_frames": len(samples),
        "num_clips": len(per_clip),
        "dropped_rows": dict(samples.dropped),
        "frame_wise": summarise(scores, np.arange(len(samples))),
        "action_wise": mean_of_groups(per_action),
        "per_action": per_action,
        "per_joint": {
            name: float(error)
            for name, error in zip(
                reader.label_skeleton.joints, scores.joint_mm.mean(0), strict=True
            )
        },
        "per_clip": per_clip,
    }
    return Evaluation(
        split=split,
        keypoint_source=data.keypoint_source,
        rows=samples.rows,
        keypoints_px=samples.keypoints_px,
        predicted_mm=predicted_mm,
        true_mm=true_mm,
        frame_mpjpe_mm=scores.joint_mm.mean(-1),
        metrics=metrics,
        maps=placement.line(),
    )


def evaluate_run(
    run: LoadedRun | Path | str,
    reader: CacheReader,
    config: EvaluateConfig | None = None,
    *,
    progress: Callable[[Evaluation], None] | None = None,
) -> dict[str, Evaluation]:
    """Evaluates a trained run on every split asked for and writes its `metrics.json`.

    Returns the evaluations by split. Raises `StoreMismatch` if the store is not of the kind that
    the run was trained on, unless the difference is named in `config.allow`; what was allowed is
    written into the metrics.
    """
    config = config or EvaluateConfig()
    if not isinstance(run, LoadedRun):
        run = load_run(run, weights=config.weights)
    data = run.config.data
    if config.keypoint_source:
        data = data.model_copy(update={"keypoint_source": config.keypoint_source})
    run.require_fit(reader, keypoint_source=data.keypoint_source, allow=config.allow)
    evaluations = {}
    for split in config.splits or evaluation_splits(reader, data):
        evaluations[split] = evaluate(
            run.model,
            reader,
            split,
            config,
            data=data,
            level_names=run.level_names,
            windowing=windowing_of(run.description.lifter, data),
        )
        if progress:
            progress(evaluations[split])
    write_json(
        run.run_dir / METRICS_FILE,
        {
            "epoch": run.epoch,
            "weights": run.weights,
            "seed": run.config.seed,
            "lifter": run.description.lifter.name,
            "num_parameters": run.description.num_parameters,
            **sources_of(reader, data.keypoint_source, data.context if run.level_names else None),
            "context": data.context if run.level_names else None,
            "sampling_backend": sampling_backend(
                reader, run.level_names, use_device(config.device)
            ),
            "evaluate": config.model_dump(mode="json"),
            "splits": {name: evaluation.metrics for name, evaluation in evaluations.items()},
        },
    )
    return evaluations


def evaluation_splits(reader: CacheReader, data: DataConfig) -> tuple[str, ...]:
    """Returns the validation split and every test split, each a group of its own.

    Raises `EmptySplit` if the store has neither.
    """
    splits = tuple(
        name
        for name in splits_of(reader)
        if name == data.validation_split or name.startswith("test")
    )
    if not splits:
        raise EmptySplit(
            "The store has neither a validation nor a test split; it has"
            f" {', '.join(splits_of(reader)) or 'no rows'}. Name one with evaluate.splits."
        )
    return splits


def follows_previous(
    rows: NDArray[np.int64],  # [n] ascending
    clips: NDArray[np.int64],  # [n]
    frames: NDArray[np.int32],  # [n] numbers in the clip
) -> NDArray[np.bool_]:  # [n]
    """Returns whether the sample before is the frame before, of the same clip.

    Rows of a clip are contiguous in the store, so a gap in them means that a frame was left out;
    a step of frame numbers above the smallest of the clip means that the data set left some out.
    """
    steps = np.diff(frames)
    neighbours = (np.diff(rows) == 1) & (np.diff(clips) == 0)
    codes, inverse = np.unique(clips[1:], return_inverse=True)
    smallest = np.full(len(codes), np.iinfo(np.int32).max)
    np.minimum.at(smallest, inverse[neighbours], steps[neighbours])
    follows = np.zeros(len(rows), dtype=bool)
    follows[1:] = neighbours & (steps == smallest[inverse])
    return follows


def _words(reader: CacheReader, name: str, rows: NDArray[np.int64]) -> list[str]:
    column = reader.index(name)
    vocabulary = column.vocabulary
    return [vocabulary[c] if vocabulary else str(c) for c in column.codes[rows].tolist()]
