"""The error that the best epoch is chosen by."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import torch

from stages.lift.batches import LiftData
from stages.lift.config import TrainConfig
from stages.lift.errors import NotFiniteLoss
from stages.lift.predictions import predict_mm
from stages.lift.samples import METRES_PER_MM
from stages.lift.state import TrainState


def validate(state: TrainState, data: LiftData, config: TrainConfig, device: torch.device) -> float:
    """Returns the MPJPE [mm] of the weights that would be kept; raises `NotFiniteLoss`."""
    samples, average = data.samples, state.average
    with average.put_into(state.model) if average else nullcontext():
        predicted_mm = predict_mm(
            state.model,
            data,
            batch_size=config.batch_size,
            flip_average=config.validation_flip,
            device=device,
            feed=config,
        )
    error_mm = np.linalg.norm(predicted_mm - samples.target_m[0] / METRES_PER_MM, axis=-1)
    mpjpe_mm = float(error_mm[samples.valid[0]].mean())
    if not np.isfinite(mpjpe_mm):
        raise NotFiniteLoss(
            f"The validation error became {mpjpe_mm} after epoch {state.epoch}."
            " Lower train.lr or set train.grad_clip=1.0."
        )
    return mpjpe_mm
