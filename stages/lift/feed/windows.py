"""Which frames a lifter of windows reads for a sample, and which of them it predicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cache import WindowShape
from lifter import LIFTERS
from lifter.config import LifterConfig
from stages.lift.config import DataConfig

if TYPE_CHECKING:
    from stages.lift.feed.batches import Batch, LiftData


@dataclass(frozen=True)
class Windowing:
    """The windows that a lifter reads."""

    shape: WindowShape
    predicts_all: bool  # every frame of a window, or its target only


def windowing_of(lifter: LifterConfig, data: DataConfig) -> Windowing | None:
    """Returns the windows that this lifter reads; None if it lifts single frames."""
    kind = LIFTERS[lifter.name]
    if not kind.reads_windows:
        return None
    shape = WindowShape(lifter.num_frames, causal=lifter.causal, step=data.frame_step)
    return Windowing(shape, kind.predicts_windows)


class TileBatches:
    """One pass over windows that lie side by side, for lifters that predict all of a window.

    Every sample of `data.shown()` is really in one of them at least. `donors` [frames] lend the
    maps; `None`: each frame has its own.
    """

    def __init__(
        self,
        data: LiftData,
        *,
        batch_size: int,
        view: int,
        donors: NDArray[np.int64] | None = None,
    ) -> None:
        assert data.windows is not None
        self._data, self._batch_size, self._view = data, batch_size, view
        self._donors = donors
        self.targets = data.windows.tiles(data.frame_of[data.shown()])

    def __len__(self) -> int:
        return -(-len(self.targets) // self._batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self._batch_size
        targets = self.targets[start : start + self._batch_size]
        views = np.full(len(targets), self._view)
        return self._data.window_batch(targets, views=views, donors=self._donors)

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))

    def untile(self, predicted: NDArray[Any]) -> NDArray[Any]:
        """Returns of the poses [tiles, F, J, 3] that of each sample shown, [n, J, 3]."""
        data = self._data
        assert data.windows is not None
        positions, real = data.windows.of(self.targets)
        # Where tiles overlap, the first has the word.
        place = np.full(len(data.frames), -1, dtype=np.int64)
        flat, there = positions.ravel()[::-1], real.ravel()[::-1]
        place[flat[there]] = np.arange(positions.size)[::-1][there]
        chosen = place[data.frame_of[data.shown()]]
        assert (chosen >= 0).all()
        joined: NDArray[Any] = predicted.reshape(-1, *predicted.shape[2:])[chosen]
        return joined
