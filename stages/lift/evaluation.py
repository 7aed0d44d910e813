"""Evaluation of a lifter, one split at a time."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from cache import CacheReader
from stages.devices import use_device
from stages.lift.calibration import calibration
from stages.lift.config import DataConfig, EvaluateConfig
from stages.lift.errors import EmptySplit, NotFiniteLoss
from stages.lift.feed.batches import LiftData
from stages.lift.feed.residency import Placement, place_maps
from stages.lift.feed.samples import METRES_PER_MM, Samples, splits_of
from stages.lift.feed.windows import Windowing
from stages.lift.predictions import Predictions, predict
from stages.lift.refined_evaluation import refine_split, refinement_metrics
from stages.lift.scores import (
    FrameScores,
    mean_of_groups,
    score_frames,
    summarise,
    summarise_groups,
)
from stages.lift.torch_settings import torch_settings


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
    scale_mm: NDArray[np.float64] | None = None  # [n, J] as predicted; None: not by this lifter
    root_mm: NDArray[np.float64] | None = None  # [n, 3] of refined poses, NaN: left as predicted


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
    actions, as in the papers), `per_action`, `per_subject` (of MPI-INF-3DHP's test set: sequence),
    `per_joint` (MPJPE), `per_clip`, and the counts of frames left out by reason. MPJVE compares
    what `config.velocity` says. Of a lifter with scales also `uncertainty`, which `calibration`
    describes, of all joints but the root. With `config.refine` all these are of refined poses,
    except `uncertainty`; `before_refinement` has the first two means of the predictions, and
    `refinement` what `refinement_metrics` says.

    Raises `EmptySplit` if the split has no usable row, `NotFiniteLoss` for a prediction that is
    not finite, `DoesNotFit` if `config.residency` names a memory that is too small.
    """
    (evaluation,) = evaluate_models(
        [model],
        reader,
        split,
        config,
        data=data,
        level_names=level_names,
        windowing=windowing,
    )
    return evaluation


def evaluate_models(
    models: Sequence[nn.Module],
    reader: CacheReader,
    split: str,
    config: EvaluateConfig,
    *,
    data: DataConfig,
    level_names: Collection[str],
    windowing: Windowing | None = None,
) -> list[Evaluation]:
    """Returns what `evaluate` does, of several models that read the same maps."""
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
    placement = place_maps([lift_data], config.residency, device=device, passes=len(models))
    evaluations = []
    for model in models:
        with torch_settings(config.threads):
            predicted = predict(
                model.to(device),
                lift_data,
                batch_size=config.batch_size,
                flip_average=config.flip_average,
                device=device,
                feed=config,
            )
        evaluations.append(_score(predicted, lift_data, config, data, placement))
    return evaluations


def _score(
    predicted: Predictions,
    lift_data: LiftData,
    config: EvaluateConfig,
    data: DataConfig,
    placement: Placement,
) -> Evaluation:
    samples, reader = lift_data.samples, lift_data.reader
    predicted_mm, scale_mm, root_mm = predicted.joints_mm, predicted.scale_mm, None
    true_mm = samples.target_m[0].astype(np.float64) / METRES_PER_MM
    if config.zero_root:
        predicted_mm[:, reader.label_skeleton.root] = 0.0
    if not np.isfinite(predicted_mm).all():
        bad = samples.rows[~np.isfinite(predicted_mm).all(axis=(1, 2))]
        raise NotFiniteLoss(
            f"The predictions of {len(bad)} rows of {samples.split!r} are not finite (first store"
            f" rows: {bad[:5].tolist()}). 'posecache cache verify' checks the maps."
        )
    scores = _frame_scores(predicted_mm, true_mm, lift_data, config)
    more: dict[str, Any] = {}
    if scale_mm is not None:
        # The root is where it is by definition: it would only make the rest look well known.
        others = np.arange(reader.label_skeleton.num_joints) != reader.label_skeleton.root
        more["uncertainty"] = calibration(scores.joint_mm[:, others], scale_mm[:, others])
    if config.refine != "none":
        refined = refine_split(
            predicted_mm, scale_mm, reader, samples, config, keypoint_source=data.keypoint_source
        )
        more["before_refinement"] = _means(scores, reader, samples)
        more["refinement"] = refinement_metrics(
            refined,
            reader.labels("joints_3d_mm")[samples.rows, reader.label_skeleton.root].astype(float),
        )
        predicted_mm, root_mm = refined.joints_mm, refined.root_mm
        scores = _frame_scores(predicted_mm, true_mm, lift_data, config)
    per_action, per_subject, per_clip = (
        summarise_groups(scores, _words(reader, name, samples.rows))
        for name in ("action", "subject", "clip")
    )
    metrics = {
        "num_frames": len(samples),
        "num_clips": len(per_clip),
        "dropped_rows": dict(samples.dropped),
        **_means(scores, reader, samples),
        "per_action": per_action,
        "per_subject": per_subject,
        "per_joint": {
            name: float(error)
            for name, error in zip(
                reader.label_skeleton.joints, scores.joint_mm.mean(0), strict=True
            )
        },
        "per_clip": per_clip,
        **more,
    }
    return Evaluation(
        split=samples.split,
        keypoint_source=data.keypoint_source,
        rows=samples.rows,
        keypoints_px=samples.keypoints_px,
        predicted_mm=predicted_mm,
        true_mm=true_mm,
        frame_mpjpe_mm=scores.joint_mm.mean(-1),
        metrics=metrics,
        maps=placement.line(),
        scale_mm=scale_mm,
        root_mm=root_mm,
    )


def _frame_scores(
    predicted_mm: NDArray[np.float64],  # [n, J, 3]
    true_mm: NDArray[np.float64],  # [n, J, 3]
    lift_data: LiftData,
    config: EvaluateConfig,
) -> FrameScores:
    samples, reader = lift_data.samples, lift_data.reader
    return score_frames(
        predicted_mm,
        true_mm,
        follows=follows_previous(
            samples.rows, samples.clips, reader.index("frame").codes[samples.rows]
        ),
        pck_threshold_mm=config.pck_threshold_mm,
        skeleton=reader.label_skeleton.name,
        velocity=config.velocity,
    )


def _means(scores: FrameScores, reader: CacheReader, samples: Samples) -> dict[str, Any]:
    per_action = summarise_groups(scores, _words(reader, "action", samples.rows))
    return {
        "frame_wise": summarise(scores, np.arange(len(samples))),
        "action_wise": mean_of_groups(per_action),
    }


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
