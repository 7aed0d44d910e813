"""What a lifter says about the samples of a split."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lifter.models.base import prediction
from stages.lift.config import FeedConfig
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import FLIPPED, PLAIN, mirror
from stages.lift.feed.prefetch import Prefetch
from stages.lift.feed.samples import METRES_PER_MM
from stages.lift.feed.transfer import on_device


def predict_mm(
    model: nn.Module,
    data: LiftData,
    *,
    batch_size: int,
    flip_average: bool,
    device: torch.device,
    feed: FeedConfig,
) -> NDArray[np.float64]:
    """Returns the predicted joints [n, J, 3] in mm, camera frame, relative to the root.

    The samples are those of `data.shown()`: of several processes, each predicts its own.
    With `flip_average`, the mean of the plain prediction and the un-mirrored prediction of the
    flipped view. The model is left in the mode it was in.
    """
    predicted = _predict_view(model, data, PLAIN, batch_size, device, feed)
    if flip_average:
        flipped = _predict_view(model, data, FLIPPED, batch_size, device, feed)
        unmirrored = mirror(flipped, data.reader.label_skeleton.swap)
        predicted = (predicted + unmirrored) / 2.0
    return predicted / METRES_PER_MM


def _predict_view(
    model: nn.Module,
    data: LiftData,
    view: int,
    batch_size: int,
    device: torch.device,
    feed: FeedConfig,
) -> NDArray[np.float64]:
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
        parts = [prediction(batch.lifted_by(model)) for batch in on_device(ahead, device)]
    if not parts:
        return np.empty((0, *data.samples.target_m.shape[2:]))
    # All at once: every copy to the host waits for the device.
    predicted: NDArray[np.float64] = torch.cat(parts).to("cpu", torch.float64).numpy()
    return predicted if tiles is None else tiles.untile(predicted)


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switches a model to evaluation mode and back."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
