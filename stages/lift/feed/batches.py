"""Batches for a lifter: the one place where arrays become tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import CacheReader, ClipWindows
from stages.lift.config import DataConfig
from stages.lift.errors import LiftError
from stages.lift.feed.batch import Batch
from stages.lift.feed.maps import (
    MapSource,
    ResidentMaps,
    StoredMaps,
    ZeroMaps,
    level_scales,
)
from stages.lift.feed.order import draw_donors, share_starts, shuffle_samples
from stages.lift.feed.passes import Batches, TileBatches, places_in_tiles
from stages.lift.feed.samples import InputFrames, Samples, load_frames, load_samples
from stages.lift.feed.windows import Windowing
from stages.lift.processes.world import ALONE, World

CPU = torch.device("cpu")


class LiftData:
    """One split of a store as batches.

    `level_names` are the maps to read, in the lifter's order; empty for a lifter without context.
    `device` is that of the lifter: batches for a GPU lie in page-locked memory, from which copies
    to it are asynchronous. With `windowing`, samples are windows of all frames that can be read,
    whether or not they have labels.

    Where several processes train one run, each owns the maps of a fixed, contiguous share of the
    rows, and of every batch lifts the samples that see one of its maps. It thus never reads
    another map, in any epoch: together the memories (or the machines' page caches) hold the store
    once, and the batches are still drawn from all rows, as one process draws them. The price is
    that the parts of a batch are unequal, by about the root of their size.
    """

    def __init__(
        self,
        reader: CacheReader,
        split: str,
        *,
        config: DataConfig,
        level_names: Sequence[str],
        flipped: bool,
        windowing: Windowing | None = None,
        complete_labels: bool = False,
        device: torch.device = CPU,
        world: World = ALONE,
    ) -> None:
        self.reader = reader
        self.windowing = windowing
        self.config = config
        self.world = world
        self.level_names = tuple(level_names)
        self.samples: Samples = load_samples(
            reader, split, config, flipped=flipped, complete_labels=complete_labels
        )
        self.frames: InputFrames = self.samples
        self.windows: ClipWindows | None = None
        if windowing is not None:
            if config.context == "shuffled" and level_names and world.size > 1:
                raise LiftError(
                    "Shuffled context of windows is for one process: the frames of a window would"
                    " see maps of several. Train it in one process."
                )
            self.frames = load_frames(reader, split, config, flipped=flipped)
            self.windows = ClipWindows(
                self.frames.clips,
                reader.index("frame").codes[self.frames.rows],
                windowing.shape,
            )
        # [n] position of each sample among the frames, and [frames] back, -1 without labels
        self.frame_of = np.searchsorted(self.frames.rows, self.samples.rows).astype(np.int64)
        self._sample_of = np.full(len(self.frames), -1, dtype=np.int64)
        self._sample_of[self.frame_of] = np.arange(len(self.samples))
        starts = share_starts(
            self.frames.rows,
            block_rows=reader.block_rows,
            num_shares=world.size,
            first_of_clip=None if self.windows is None else self.windows.first_of_clip,
        )
        self._own = slice(int(starts[world.rank]), int(starts[world.rank + 1]))
        self._flipped = flipped
        self._holds_points = reader.spec.points is not None
        self._pin = device.type == "cuda"
        self._scales = level_scales(reader, self.level_names, device)
        self._maps: MapSource = (
            ZeroMaps(reader, self.level_names, device=device)
            if config.context == "none"
            else StoredMaps(reader, self.frames.rows, self.level_names, pin=self._pin)
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def num_views(self) -> int:
        """Views that are read, the plain one first."""
        return 2 if self._flipped else 1

    @property
    def all_valid(self) -> bool:
        """Whether every joint of every batch counts in the loss."""
        predicts_all = self.windowing is not None and self.windowing.predicts_all
        return not predicts_all and bool(self.samples.valid.all())

    @property
    def maps_bytes(self) -> int:
        """Size of all maps that this process reads."""
        if self.config.context == "none":
            return 0
        levels = [self.reader.levels[name] for name in self.level_names]
        row_bytes = sum(
            int(np.prod(level.map_shape)) * self.reader.level_dtype(level.name).itemsize
            for level in levels
        )
        return (self._own.stop - self._own.start) * self.num_views * row_bytes

    def hold_maps(self, device: torch.device, *, report: Callable[[int], None]) -> None:
        """Reads all maps into the memory of `device`; `report` is told the bytes of every step."""
        if not self.maps_bytes:
            return
        self._maps = ResidentMaps(
            self.reader,
            self.frames.rows[self._own],
            self.level_names,
            first=self._own.start,
            num_views=self.num_views,
            device=device,
            pin=self._pin,
            report=report,
        )

    def training_batches(self, *, batch_size: int, rng: np.random.Generator) -> Batches:
        """Returns every sample once, in random order, mirrored by a coin where both views exist.

        What is random follows from `rng` and the layout of the store alone.
        """
        block_rows = self.reader.block_rows
        order = shuffle_samples(
            self.samples.rows,
            rng,
            block_rows=block_rows,
            window_blocks=self.config.shuffle_window_blocks,
        )
        coins = rng.random(len(self)) < 0.5
        views = coins.astype(np.int64) if self._flipped else np.zeros(len(self), dtype=np.int64)
        donors = self._donors(rng)
        if donors is not None and block_rows > 1 and self.windows is None:
            order = np.argsort(donors)[order]  # it is the maps that are read in blocks
        return self._pass(order, views=views, donors=donors, batch_size=batch_size)

    def ordered_batches(self, *, batch_size: int, view: int) -> Batches:
        """Returns the samples of `shown`, in one view."""
        donors = self._fixed_donors()
        views = np.full(len(self), view)
        order = np.flatnonzero(self.is_own(donors))
        return self._pass(order, views=views, donors=donors, batch_size=batch_size)

    def tile_batches(self, *, batch_size: int, view: int) -> TileBatches:
        """Returns windows side by side that hold the samples of `shown`, in one view.

        Every one of these is really in one of the windows at least.
        """
        assert self.windows is not None
        donors = self._fixed_donors()
        wanted = self.frame_of[self.shown()]
        targets = self.windows.tiles(wanted)

        def make(chosen: NDArray[np.int64]) -> Batch:
            return self.window_batch(chosen, views=np.full(len(chosen), view), donors=donors)

        place = wanted
        if len(targets):
            place = places_in_tiles(*self.windows.of(targets), wanted)
        return TileBatches(targets, batch_size, make, place)

    def _pass(
        self,
        order: NDArray[np.int64],  # [n] positions
        *,
        views: NDArray[np.int64],  # [samples]
        donors: NDArray[np.int64] | None,  # [frames]
        batch_size: int,
    ) -> Batches:
        if self.world.size == 1:
            return Batches(
                order,
                batch_size,
                lambda chosen: self.batch(chosen, views=views[chosen], donors=donors),
            )
        is_own = self.is_own(donors)
        return Batches(
            order,
            batch_size,
            lambda chosen: self.part(chosen, is_own[chosen], views=views[chosen], donors=donors),
        )

    def part(
        self,
        chosen: NDArray[np.int64],
        is_own: NDArray[np.bool_],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None,
    ) -> Batch:
        """Returns of the batch `chosen` [B] of all processes the part of this one: `is_own` [B].

        A part may be empty. Its mean loss times its `loss_weight`, averaged over the processes, is
        the mean over all valid joints of the whole batch; the labels of all rows are in memory, so
        nothing is sent to know their number.
        """
        own = chosen[is_own]
        if not len(own):
            return replace(self.blank_batch(), rows_of_all=len(chosen))
        share = self.num_valid(own, views[is_own]) / max(self.num_valid(chosen, views), 1)
        return replace(
            self.batch(own, views=views[is_own], donors=donors),
            rows_of_all=len(chosen),
            loss_weight=self.world.size * share,
        )

    def shown(self) -> NDArray[np.int64]:
        """Returns the positions of the samples that this process evaluates, in the store's order.

        In a single process these are all.
        """
        return np.flatnonzero(self.is_own(self._fixed_donors()))

    def is_own(self, donors: NDArray[np.int64] | None) -> NDArray[np.bool_]:  # [n]
        """Returns which samples see maps that this process owns, lent by `donors` [frames]."""
        maps_from = self.frame_of if donors is None else donors[self.frame_of]
        return (maps_from >= self._own.start) & (maps_from < self._own.stop)

    def num_valid(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> int:
        """Returns how many joints count in the loss of the samples [B] in the views [B]."""
        valid = self.samples.valid
        if self.windows is None or self.windowing is None or not self.windowing.predicts_all:
            return int(valid[views, chosen].sum())
        positions, real = self.windows.of(self.frame_of[chosen])
        labels = self._sample_of[positions]
        counts = valid[views[:, None], labels] & (real & (labels >= 0))[..., None]
        return int(counts.sum())

    def batch(
        self,
        chosen: NDArray[np.int64],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None = None,
    ) -> Batch:
        """Returns the samples at the positions `chosen` [B], each in its view of `views` [B].

        `donors` [frames] names for every frame the one that lends it its maps; `None`: itself.
        """
        if self.windows is not None:
            found = self.window_batch(self.frame_of[chosen], views=views, donors=donors)
            return replace(found, samples=chosen)
        samples = self.samples
        maps_from = chosen if donors is None else donors[chosen]
        return Batch(
            keypoints_2d=self._tensor(samples.keypoints_2d[views, chosen]),
            reference_points=self._tensor(samples.reference_points[views, chosen]),
            levels=self._maps.gather(maps_from, views),
            scales=self._scales,
            target_m=self._tensor(samples.target_m[views, chosen]),
            valid=self._tensor(samples.valid[views, chosen]),
            samples=chosen,
            rows_of_all=len(chosen),
            holds_points=self._holds_points,
        )

    def window_batch(
        self,
        targets: NDArray[np.int64],
        *,
        views: NDArray[np.int64],
        donors: NDArray[np.int64] | None = None,
    ) -> Batch:
        """Returns the windows of the frames at the positions `targets` [B], in the views [B].

        Targets without a label have no valid joint.
        """
        assert self.windows is not None
        assert self.windowing is not None
        positions, real = self.windows.of(targets)
        views_of = np.broadcast_to(views[:, None], positions.shape)
        frames, frame_views, places = np.empty((3, 0), dtype=np.int64)
        if self.level_names:
            keys, places = np.unique(positions * 2 + views_of, return_inverse=True)
            frames, frame_views = keys >> 1, keys & 1
        if not self.windowing.predicts_all:
            positions_out, views_out, real = targets, views, np.ones(len(targets), dtype=bool)
        else:
            positions_out, views_out = positions, views_of
        labels = self._sample_of[positions_out]
        is_labelled = (labels >= 0) & real
        samples = self.samples
        maps_from = frames if donors is None else donors[frames]
        return Batch(
            keypoints_2d=self._tensor(self.frames.keypoints_2d[views_of, positions]),
            reference_points=self._tensor(self.frames.reference_points[frame_views, frames]),
            levels=self._maps.gather(maps_from, frame_views),
            scales=self._scales,
            target_m=self._tensor(samples.target_m[views_out, labels]),
            valid=self._tensor(samples.valid[views_out, labels] & is_labelled[..., None]),
            samples=targets,
            rows_of_all=len(targets),
            window_rows=self._tensor(places.reshape(positions.shape)) if self.level_names else None,
            map_frames=frames,
            holds_points=self._holds_points,
        )

    def blank_batch(self) -> Batch:
        """Returns a batch of no samples: one row of zeros, which a lifter can read, of weight 0."""
        joints = self.samples.target_m.shape[2]
        zeros, one = ZeroMaps(self.reader, self.level_names, device=CPU), np.zeros(1, np.int64)
        window: tuple[int, ...] = (1,)
        predicted = window
        window_rows = None
        if self.windowing is not None:
            window = (1, self.windowing.shape.num_frames)
            predicted = window if self.windowing.predicts_all else predicted
            window_rows = torch.zeros(window, dtype=torch.int64) if self.level_names else None
        return Batch(
            keypoints_2d=torch.zeros(*window, joints, 2),
            reference_points=torch.zeros(1, joints, 2),
            levels=zeros.gather(one, one),
            scales=self._scales,
            target_m=torch.zeros(*predicted, joints, 3),
            valid=torch.zeros(*predicted, joints, dtype=torch.bool),
            samples=np.empty(0, dtype=np.int64),
            rows_of_all=0,
            loss_weight=0.0,
            window_rows=window_rows,
            holds_points=self._holds_points,
        )

    def recycle(self, batch: Batch) -> None:
        """Takes the memory of a batch back, for another one."""
        self._maps.recycle(batch.levels)

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        # Into torch's own memory: its alignment is fixed, and with the alignment of an operand the
        # last bits of a matrix product may change, which would break bit-identical resuming.
        tensor = torch.from_numpy(array)
        return torch.empty_like(tensor, pin_memory=self._pin).copy_(tensor)

    def _fixed_donors(self) -> NDArray[np.int64] | None:
        return self._donors(np.random.default_rng(self.config.context_seed))

    def _donors(self, rng: np.random.Generator) -> NDArray[np.int64] | None:
        if self.config.context != "shuffled" or not self.level_names:
            return None
        return draw_donors(self.frames.clips, rng)
