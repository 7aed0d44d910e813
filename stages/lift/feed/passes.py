"""One pass over the samples of a split: batches by number, each made when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lift.feed.batch import Batch


@dataclass(frozen=True)
class Batches:
    """Batches of the positions `order`, in that order.

    All that is random is drawn before, so that they are the same in whatever order and thread they
    are made.
    """

    order: NDArray[np.int64]  # [n] positions
    batch_size: int
    make: Callable[[NDArray[np.int64]], Batch]  # of positions [B]

    def __len__(self) -> int:
        return -(-len(self.order) // self.batch_size)

    def __getitem__(self, index: int) -> Batch:
        start = index * self.batch_size
        return self.make(self.order[start : start + self.batch_size])

    def __iter__(self) -> Iterator[Batch]:
        return (self[index] for index in range(len(self)))


@dataclass(frozen=True)
class TileBatches(Batches):
    """Batches of windows side by side, of which every frame is predicted."""

    place: NDArray[np.int64]  # [m] of each sample, among all frames of all windows

    def untile(self, predicted: NDArray[Any]) -> NDArray[Any]:
        """Returns of the poses [n, F, J, 3] that of each sample, [m, J, 3]."""
        joined: NDArray[Any] = predicted.reshape(-1, *predicted.shape[2:])[self.place]
        return joined


def places_in_tiles(
    positions: NDArray[np.int64],  # [n, F] frames of the windows
    real: NDArray[np.bool_],  # [n, F] which of them are not substitutes
    wanted: NDArray[np.int64],  # [m] frames
) -> NDArray[np.int64]:  # [m]
    """Returns where among the n x F frames each wanted one is really; of several, the first."""
    place = np.full(int(positions.max()) + 1, -1, dtype=np.int64)
    frames, there = positions.ravel()[::-1], real.ravel()[::-1]
    place[frames[there]] = np.arange(positions.size)[::-1][there]
    found: NDArray[np.int64] = place[wanted]
    assert (found >= 0).all()
    return found
