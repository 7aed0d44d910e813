"""Batches for a lifter: the one place where arrays become tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import CacheReader
from stages.lift.config import DataConfig
from stages.lift.errors import LiftError
from stages.lift.samples import Samples, load_samples


@dataclass(frozen=True)
class Batch:
    """`B` samples; maps are channels last, in the order of the lifter's levels."""

    keypoints_2d: Tensor  # [B, J, 2] screen-normalised, float32
    reference_points: Tensor  # [B, J, 2] unit frame, float32
    levels: list[Tensor]  # L maps [B, H, W, C], as stored
    target_m: Tensor  # [B, J, 3] camera frame, relative to the root, float32
    valid: Tensor  # [B, J] bool
    samples: NDArray[np.int64]  # [B] positions in the split

    def __len__(self) -> int:
        return len(self.samples)

    def to(self, device: torch.device) -> Batch:
        """Returns the batch on `device`; on the CPU, the batch itself."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            keypoints_2d=self.keypoints_2d.to(device, non_blocking=True),
            reference_points=self.reference_points.to(device, non_blocking=True),
            levels=[level.to(device, non_blocking=True) for level in self.levels],
            target_m=self.target_m.to(device, non_blocking=True),
            valid=self.valid.to(device, non_blocking=True),
        )


class LiftData:
    """One split of a store as batches.

    `level_names` are the maps to read, in the lifter's order; empty for a lifter without context.
    With `pin`, batches lie in page-locked memory, from which copies to a GPU are asynchronous.
    """

    def __init__(
        self,
        reader: CacheReader,
        split: str,
        *,
        config: DataConfig,
        level_names: Sequence[str],
        flipped: bool,
        complete_labels: bool = False,
        pin: bool = False,
    ) -> None:
        self.reader = reader
        self.config = config
        self.level_names = tuple(level_names)
        self.samples: Samples = load_samples(
            reader, split, config, flipped=flipped, complete_labels=complete_labels
        )
        self._flipped = flipped
        self._pin = pin

    def __len__(self) -> int:
        return len(self.samples)

    def training_batches(self, *, batch_size: int, rng: np.random.Generator) -> Iterator[Batch]:
        """Yields every sample once, in random order, mirrored by a coin where both views exist."""
        order = rng.permutation(len(self))
        coins = rng.random(len(self)) < 0.5
        views = coins.astype(np.int64) if self._flipped else np.zeros(len(self), dtype=np.int64)
        donors = self._donors(rng)
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            yield self.batch(chosen, views=views[chosen], donors=donors)

    def ordered_batches(self, *, batch_size: int, view: int) -> Iterator[Batch]:
        """Yields every sample once, in the order of the store, in one view."""
        donors = self._donors(np.random.default_rng(self.config.context_seed))
        for start in range(0, len(self), batch_size):
            chosen = np.arange(start, min(start + batch_size, len(self)))
            yield self.batch(chosen, views=np.full(len(chosen), view), donors=donors)

    def batch(
        self,
        chosen: NDArray[np.int64],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None = None,
    ) -> Batch:
        """Returns the samples at the positions `chosen` [B], each in its view of `views` [B].

        `donors` [n] names for every sample the one that lends it its maps; `None`: itself.
        """
        samples = self.samples
        maps_from = chosen if donors is None else donors[chosen]
        return Batch(
            keypoints_2d=self._tensor(samples.keypoints_2d[views, chosen]),
            reference_points=self._tensor(samples.reference_points[views, chosen]),
            levels=self._levels(samples.rows[maps_from], views),
            target_m=self._tensor(samples.target_m[views, chosen]),
            valid=self._tensor(samples.valid[views, chosen]),
            samples=chosen,
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        # Into torch's own memory: its alignment is fixed, and with the alignment of an operand the
        # last bits of a matrix product may change, which would break bit-identical resuming.
        tensor = torch.from_numpy(array)
        return torch.empty_like(tensor, pin_memory=self._pin).copy_(tensor)

    def _levels(self, rows: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        if not self.level_names:
            return []
        dtype = getattr(torch, self.reader.spec.dtype)
        levels = self.reader.levels
        create = torch.zeros if self.config.context == "none" else torch.empty
        maps = {
            name: create((len(rows), *levels[name].map_shape), dtype=dtype, pin_memory=self._pin)
            for name in self.level_names
        }
        if self.config.context != "none":
            arrays = {name: tensor.numpy() for name, tensor in maps.items()}
            self.reader.read(rows, levels=self.level_names, view=views, out=arrays)
        return list(maps.values())

    def _donors(self, rng: np.random.Generator) -> NDArray[np.int64] | None:
        if self.config.context != "shuffled" or not self.level_names:
            return None
        return draw_donors(self.samples.clips, rng)


def draw_donors(clips: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Returns for each of `n` samples another one, each chosen once, of another clip if possible.

    `clips` [n] are clip codes. A donor is of another clip unless one clip holds more than half of
    the samples; it is never the sample itself. Raises `LiftError` for a single sample.
    """
    num_samples = len(clips)
    if num_samples < 2:
        raise LiftError("Shuffled context needs at least two samples in the split, but it has one.")
    # Clips in random order, frames in random order inside a clip: a rotation by at least the
    # longest clip leaves every clip.
    codes, inverse, counts = np.unique(clips, return_inverse=True, return_counts=True)
    clip_rank = rng.permutation(len(codes))[inverse]
    order = np.lexsort((rng.random(num_samples), clip_rank))
    longest = int(counts.max())
    low, high = (longest, num_samples - longest)
    if low > high:
        low, high = 1, num_samples - 1
    shift = int(rng.integers(low, high + 1))
    donors = np.empty(num_samples, dtype=np.int64)
    donors[order] = np.roll(order, -shift)
    return donors
