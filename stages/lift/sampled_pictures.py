"""Where a trained lifter looks, in px of the pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from cache import CacheReader, LevelSpec
from cache.coords import apply_affine, invert_affine
from lifter.sampled_points import recorded_sampling
from stages.lift.config import EvaluateConfig
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import PLAIN
from stages.lift.predictions import evaluation_mode
from stages.lift.runs.checkpoints import LoadedRun
from stages.lift.torch_settings import torch_settings


@dataclass(frozen=True)
class SampledPicture:
    """The samples that all deformable blocks read for one frame, of the plain view."""

    points_px: NDArray[np.float64]  # [blocks, L, J, M, K, 2] of the picture
    weights: NDArray[np.float64]  # [blocks, L, J, M, K] sum to 1 over K
    level_names: tuple[str, ...]


def sampled_pictures(
    run: LoadedRun,
    reader: CacheReader,
    split: str,
    samples: Sequence[int],
    config: EvaluateConfig,
) -> list[SampledPicture]:
    """Returns where the run looks for each of the samples (positions in an `Evaluation`).

    Of lifters of single frames. Raises what `evaluate` does.
    """
    data = run.config.data
    if config.keypoint_source:
        data = data.model_copy(update={"keypoint_source": config.keypoint_source})
    lift_data = LiftData(
        reader,
        split,
        config=data,
        level_names=run.level_names,
        flipped=False,
        complete_labels=True,
    )
    chosen = np.asarray(samples, dtype=np.int64)
    batch = lift_data.batch(chosen, views=np.full(len(chosen), PLAIN))
    model = run.model.to("cpu")
    with (
        torch_settings(config.threads),
        evaluation_mode(model),
        torch.no_grad(),
        recorded_sampling(model) as blocks,
    ):
        batch.lifted_by(model)
    affine = reader.affine(PLAIN, rows=lift_data.samples.rows[chosen])  # [B, 2, 3]
    levels = [reader.levels[name] for name in run.level_names]
    points_px = np.stack(
        [places_px(block.points.double().numpy(), levels, affine) for block in blocks], axis=1
    )
    weights = np.stack([block.weights.double().numpy() for block in blocks], axis=1)
    return [
        SampledPicture(points, weight, run.level_names)
        for points, weight in zip(points_px, weights, strict=True)
    ]


def places_px(
    points: NDArray[np.float64],  # [B, L, ..., 2] unit frame
    levels: Sequence[LevelSpec],  # L
    affine: NDArray[np.float64],  # [B, 2, 3] from image px into the crop of the same view
) -> NDArray[np.float64]:  # [B, L, ..., 2]
    """Returns which px of the picture the cells show that are read at these points.

    The op puts -1 and 1 on the outermost cells, and what lies farther out reads the edge; cell c of
    a level is centred on crop px stride * c. By the published rule of reference points, a point
    without offset thus lies up to a stride beside its joint: it is drawn where it is read.
    """
    back = invert_affine(affine)
    found = []
    for index, level in enumerate(levels):
        last_cell = np.array([level.width - 1, level.height - 1], dtype=np.float64)
        cells = np.clip((points[:, index] + 1) / 2 * last_cell, 0, last_cell)
        found.append(apply_affine(back, cells * level.stride))
    return np.stack(found, axis=1)
