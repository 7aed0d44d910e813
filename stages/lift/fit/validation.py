"""The error that the best epoch is chosen by."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from stages.lift.config import TrainConfig
from stages.lift.errors import NotFiniteLoss
from stages.lift.feed.batches import LiftData
from stages.lift.feed.samples import METRES_PER_MM
from stages.lift.predictions import predict_mm
from stages.lift.runs.state import TrainState


def validate(state: TrainState, data: LiftData, config: TrainConfig, device: torch.device) -> float:
    """Returns the MPJPE [mm] of the weights that would be kept; raises `NotFiniteLoss`.

    Of several processes, each predicts its own samples, and all return the same number.
    """
    samples, average = data.samples, state.average
    shown, world = data.shown(), data.world
    world.share_buffers(state.model)
    with average.put_into(state.model) if average else nullcontext():
        predicted_mm = predict_mm(
            state.model,
            data,
            batch_size=-(-config.batch_size // world.size),
            flip_average=config.validation_flip,
            device=device,
            feed=config,
        )
    true_mm = samples.target_m[0][shown] / METRES_PER_MM
    error_mm = np.linalg.norm(predicted_mm - true_mm, axis=-1)[samples.valid[0][shown]]
    sums = world.gather([float(error_mm.sum()), error_mm.size])
    mpjpe_mm = float(sums[:, 0].sum() / sums[:, 1].sum())
    if not np.isfinite(mpjpe_mm):
        raise NotFiniteLoss(
            f"The validation error became {mpjpe_mm} after epoch {state.epoch}."
            " Lower train.lr or set train.grad_clip=1.0."
        )
    return mpjpe_mm
