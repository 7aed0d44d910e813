"""What a lifter says about the samples of a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lifter.models.base import prediction
from lifter.uncertainty import ScaledLifter, scale_m
from stages.lift.config import FeedConfig
from stages.lift.feed.batch import Batch
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import FLIPPED, PLAIN, mirror
from stages.lift.feed.prefetch import Prefetch
from stages.lift.feed.samples import METRES_PER_MM
from stages.lift.feed.transfer import on_device


@dataclass(frozen=True)
class Predictions:
    """Poses of `n` samples, and how far off they may be where the lifter says it."""

    joints_mm: NDArray[np.float64]  # [n, J, 3] camera frame, relative to the root
    scale_mm: NDArray[np.float64] | None  # [n, J] b of `lifter.uncertainty`: 3 b is to be expected


def predict(
    model: nn.Module,
    data: LiftData,
    *,
    batch_size: int,
    flip_average: bool,
    device: torch.device,
    feed: FeedConfig,
) -> Predictions:
    """Returns the poses of samples, with the scales of a lifter that has them.

    The samples are those of `data.shown()`: of several processes, each predicts its own. The model
    is left in the mode it was in. With `flip_average`, the mean of the plain prediction and the
    un-mirrored prediction of the flipped view; of scales, too, with left and right exchanged:
    errors of the two views are much alike, so their mean is hardly surer than one of them, which is
    a choice of ours.
    """
    has_scale = isinstance(model, ScaledLifter)
    found = _predict_view(model, data, PLAIN, batch_size, device, feed, with_scale=has_scale)
    if flip_average:
        flipped = _predict_view(
            model, data, FLIPPED, batch_size, device, feed, with_scale=has_scale
        )
        found = (found + mirror(flipped, data.reader.label_skeleton.swap)) / 2.0
    found = found / METRES_PER_MM
    # A copy: poses are written to where the root is set to zero.
    return Predictions(found[..., :3].copy(), found[..., 3] if has_scale else None)


def predict_mm(
    model: nn.Module,
    data: LiftData,
    *,
    batch_size: int,
    flip_average: bool,
    device: torch.device,
    feed: FeedConfig,
) -> NDArray[np.float64]:
    """Returns the predicted joints [n, J, 3] in mm, camera frame, relative to the root joint."""
    found = predict(
        model,
        data,
        batch_size=batch_size,
        flip_average=flip_average,
        device=device,
        feed=feed,
    )
    return found.joints_mm


def _predict_view(
    model: nn.Module,
    data: LiftData,
    view: int,
    batch_size: int,
    device: torch.device,
    feed: FeedConfig,
    *,
    with_scale: bool = False,
) -> NDArray[np.float64]:  # [n, J, 3] metres, or with the scale [n, J, 4]
    tiles = None
    if data.windowing is not None and data.windowing.predicts_all:
        tiles = data.tile_batches(batch_size=batch_size, view=view)
    with (
        evaluation_mode(model),
        torch.no_grad(),
        Prefetch(
            tiles or data.ordered_batches(batch_size=batch_size, view=view),
            depth=feed.prefetch_batches,
            threads=feed.loader_threads,
            recycle=data.recycle,
        ) as ahead,
    ):
        parts = [_answer(batch, model, with_scale) for batch in on_device(ahead, device)]
    if not parts:
        return np.empty((0, data.samples.target_m.shape[2], 3 + with_scale))
    # All at once: every copy to the host waits for the device.
    predicted: NDArray[np.float64] = torch.cat(parts).to("cpu", torch.float64).numpy()
    return predicted if tiles is None else tiles.untile(predicted)


def _answer(batch: Batch, model: nn.Module, with_scale: bool) -> Tensor:
    if not with_scale:
        return prediction(batch.lifted_by(model))
    outputs = batch.lifted_by(partial(model, with_scale=True))
    return torch.cat((prediction(outputs), scale_m(outputs)[..., None]), dim=-1)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switches a model to evaluation mode and back."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
