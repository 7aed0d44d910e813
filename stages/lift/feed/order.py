"""The order of an epoch, whose maps a sample sees, and which process reads them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cache.shuffle import shuffled
from stages.lift.errors import LiftError


def shuffle_samples(
    rows: NDArray[np.int64],  # [n] of the store, ascending
    rng: np.random.Generator,
    *,
    block_rows: int,
    window_blocks: int,
) -> NDArray[np.int64]:  # [n]
    """Returns the positions in `rows` in random order.

    Rows that are read in blocks are mixed inside a window of blocks, so that a block is decoded
    about once in an epoch; `block_rows=1` mixes all of them.
    """
    if block_rows == 1:
        return rng.permutation(len(rows))
    order = shuffled(rows, rng, block_rows=block_rows, window_blocks=window_blocks)
    return np.searchsorted(rows, order).astype(np.int64)


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


def share_starts(
    rows: NDArray[np.int64],  # [n] of the store, ascending
    *,
    block_rows: int,
    num_shares: int,
    first_of_clip: NDArray[np.int64] | None = None,  # [n] position of the first row of its clip
) -> NDArray[np.int64]:  # [num_shares + 1]
    """Returns where the shares of `rows` begin and end, as positions in `rows`.

    The shares are as equal as blocks of rows allow that are read together: none is divided. Where
    windows are read, it is clips that are not divided.
    """
    first_of_block = first_of_clip
    if first_of_block is None:
        first_of_block = np.searchsorted(rows, rows // block_rows * block_rows)
    share = first_of_block * num_shares // max(len(rows), 1)  # ascending
    return np.searchsorted(share, np.arange(num_shares + 1)).astype(np.int64)
