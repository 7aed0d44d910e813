"""Random orders for stores that are read in blocks of rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def shuffled(
    rows: ArrayLike, rng: np.random.Generator, *, block_rows: int, window_blocks: int
) -> NDArray[np.intp]:
    """`[N]` the rows, each once, in a random order that reads each block of a store once.

    The rows' blocks (of `block_rows` row numbers, as stored; rows of a split may be any subset) are
    put into a random order, `window_blocks` of them at a time make a window, and the rows of a
    window are put into a random order. With `block_rows` 1 this is `rng.permutation(rows)`.

    What is uniform: the place of any one row, if all blocks have equally many of the rows (rows of
    smaller blocks, like the last one, are a little likelier at the end). What is not: rows of one
    block are never further apart than a window of `n = block_rows * window_blocks` rows. A given
    other row of the same block is in the same batch of `B` rows with probability
    `(B - 1) / (n - 1)`, where batches divide windows, instead of `(B - 1) / (N - 1)`; so a window
    should be many batches long, and neighbouring frames of a video should not fill it. What a
    window holds must fit into memory, or blocks are read twice.

    Args:
        rows: `[N]` row numbers of a reader, each once.
        rng: the order follows from its state alone.
        block_rows: `CacheReader.block_rows`.
        window_blocks: blocks that are mixed with each other; more are more random.
    """
    numbers = np.asarray(rows, dtype=np.intp)
    if block_rows < 1 or window_blocks < 1:
        raise ValueError(
            f"blocks and windows have at least one row and block, got block_rows {block_rows} and "
            f"window_blocks {window_blocks}"
        )
    if block_rows == 1:
        return rng.permutation(numbers)
    ordered = np.sort(numbers)  # the order given must not matter
    blocks = np.split(ordered, np.flatnonzero(np.diff(ordered // block_rows)) + 1)
    turns = rng.permutation(len(blocks))
    windows = [
        rng.permutation(
            np.concatenate([blocks[turn] for turn in turns[first : first + window_blocks]])
        )
        for first in range(0, len(blocks), window_blocks)
    ]
    return np.concatenate(windows)
