"""Batches for a lifter: which samples, in which order, with whose maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from cache import CacheReader, ClipWindows
from stages.lift.config import DataConfig
from stages.lift.errors import LiftError
from stages.lift.feed.batch import Batch
from stages.lift.feed.making import CPU, BatchMaker
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
        # [n] position of each sample among the frames
        self.frame_of = np.searchsorted(self.frames.rows, self.samples.rows).astype(np.int64)
        starts = share_starts(
            self.frames.rows,
            block_rows=reader.block_rows,
            num_shares=world.size,
            first_of_clip=None if self.windows is None else self.windows.first_of_clip,
        )
        self._own = slice(int(starts[world.rank]), int(starts[world.rank + 1]))
        self._flipped = flipped
        pin = device.type == "cuda"
        maps: MapSource = (
            ZeroMaps(reader, self.level_names, device=device)
            if config.context == "none"
            else StoredMaps(reader, self.frames.rows, self.level_names, pin=pin)
        )
        self.maker = BatchMaker(
            reader=reader,
            level_names=self.level_names,
            samples=self.samples,
            frames=self.frames,
            frame_of=self.frame_of,
            windowing=windowing,
            windows=self.windows,
            maps=maps,
            scales=level_scales(reader, self.level_names, device),
            pin=pin,
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
        self.maker.maps = ResidentMaps(
            self.reader,
            self.frames.rows[self._own],
            self.level_names,
            first=self._own.start,
            num_views=self.num_views,
            device=device,
            pin=self.maker.pin,
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
            return self.maker.window_batch(chosen, views=np.full(len(chosen), view), donors=donors)

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
                lambda chosen: self.maker.batch(chosen, views=views[chosen], donors=donors),
            )
        is_own = self.is_own(donors)
        return Batches(
            order,
            batch_size,
            lambda chosen: self.part(chosen, is_own[chosen], views=views[chosen], donors=donors),
        )

    def batch(
        self,
        chosen: NDArray[np.int64],  # [B] positions
        *,
        views: NDArray[np.int64],  # [B]
        donors: NDArray[np.int64] | None = None,  # [frames]
    ) -> Batch:
        """Returns the batch of these samples, as `BatchMaker.batch` does."""
        return self.maker.batch(chosen, views=views, donors=donors)

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
            return replace(self.maker.blank_batch(), rows_of_all=len(chosen))
        share = self.maker.num_valid(own, views[is_own]) / max(
            self.maker.num_valid(chosen, views), 1
        )
        return replace(
            self.maker.batch(own, views=views[is_own], donors=donors),
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

    def recycle(self, batch: Batch) -> None:
        """Takes the memory of a batch back, for another one."""
        self.maker.maps.recycle(batch.levels)

    def _fixed_donors(self) -> NDArray[np.int64] | None:
        return self._donors(np.random.default_rng(self.config.context_seed))

    def _donors(self, rng: np.random.Generator) -> NDArray[np.int64] | None:
        if self.config.context != "shuffled" or not self.level_names:
            return None
        return draw_donors(self.frames.clips, rng)
