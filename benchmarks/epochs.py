"""Epochs that benchmarks compare: what `benchmarks.steps` has, fed by the loader of `stages.lift`.

The published design reads pictures where the others read maps: crops that are decoded already, in
both views, in the same order and through the same threads.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.loader import Feed
from benchmarks.steps import CROP_SIZE, arithmetic, train_step
from cache import CacheReader
from stages.lift.config import TrainConfig
from stages.lift.fit.epoch import run_epoch

Place = Literal["disk", "device"]


class ReadyPictures:
    """Crops of all samples, uint8 RGB in memory, given out like maps of one level."""

    def __init__(self, num_samples: int, num_views: int, *, held_on: torch.device, pin: bool):
        self._num_views, self._pin = num_views, pin
        shape = (num_samples * num_views, *CROP_SIZE, 3)
        self._held = torch.randint(0, 256, shape, dtype=torch.uint8, device=held_on)
        # A fresh tensor costs page faults; the maps' memory is used again, too.
        self._free: deque[Tensor] = deque()

    def gather(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        """Returns the crops [B, H, W, 3] of the samples in the views, where they are held."""
        places = torch.from_numpy(chosen * self._num_views + views)
        if self._held.device.type != "cpu":
            places = places.pin_memory().to(self._held.device, non_blocking=True)
            return [self._held.index_select(0, places)]
        if self._free and not self._pin:
            crops = self._free.pop()
        else:
            shape = (len(chosen), *self._held.shape[1:])
            crops = torch.empty(shape, dtype=torch.uint8, pin_memory=self._pin)
        return [torch.index_select(self._held, 0, places, out=crops)]

    def recycle(self, levels: list[Tensor]) -> None:
        """Keeps the memory for another batch."""
        if self._held.device.type == "cpu" and not self._pin:
            self._free.append(levels[0])


class EpochFeed(Feed):
    """So many steps of a store of made-up maps, or of as many pictures.

    Args:
        reader: the store.
        config: of the training.
        steps: batches of a pass.
        device: of the lifter.
        place: where the maps or pictures are: `disk` reads maps from the store and pictures from
            the host's memory; `device` holds either on the device.
        pictures: pictures instead of maps.
    """

    def __init__(
        self,
        reader: CacheReader,
        config: TrainConfig,
        *,
        steps: int,
        device: torch.device,
        place: Place,
        pictures: bool,
    ) -> None:
        super().__init__(reader, config, steps=steps, device=device)
        self._spread_points()
        host = torch.device("cpu")
        if pictures:
            self.maker.maps = ReadyPictures(
                len(self),
                self.num_views,
                held_on=device if place == "device" else host,
                pin=device.type == "cuda",
            )
            self.maker.scales = None
        elif place == "device":
            self.hold_maps(device, report=lambda _bytes: None)

    def _spread_points(self) -> None:
        # The made-up store has all its joints in one corner, where every reading of a map is a hit
        # in the processor's cache.
        rng = np.random.default_rng(0)
        samples = self.samples
        self.samples = self.maker.samples = replace(
            samples,
            **{
                name: rng.uniform(-0.8, 0.8, getattr(samples, name).shape).astype(np.float32)
                for name in ("keypoints_2d", "reference_points", "target_m")
            },
        )


class Epoch:
    """A training whose call is one pass over the steps of its feed."""

    def __init__(
        self, model: nn.Module, feed: EpochFeed, config: TrainConfig, device: torch.device
    ) -> None:
        self.feed, self.config = feed, config
        self.waits: list[float] = []
        self.step = train_step(model, config, device)

    def __call__(self) -> None:
        """Trains; the epoch's own end waits for the device."""
        steps = self.feed.steps
        with arithmetic(self.config):
            *_, ended = run_epoch(self.step, self.feed, steps_per_epoch=steps, num_steps=steps)
        self.waits.append(ended.wait_fraction)
