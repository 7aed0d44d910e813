from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from cache import shuffled

Shuffle = Callable[[NDArray[np.intp], np.random.Generator], NDArray[np.intp]]

subsets = st.sets(st.integers(0, 300), min_size=1, max_size=120).map(sorted)
small = st.integers(1, 9)


@settings(deadline=None)
@given(rows=subsets, block_rows=small, window_blocks=small, seed=st.integers(0, 9))
def test_every_row_comes_once_and_the_seed_decides(
    rows: list[int], block_rows: int, window_blocks: int, seed: int
) -> None:
    def order(given: list[int]) -> list[int]:
        rng = np.random.default_rng(seed)
        return shuffled(given, rng, block_rows=block_rows, window_blocks=window_blocks).tolist()

    assert sorted(order(rows)) == rows
    assert order(rows) == order(rows)
    if block_rows > 1:
        assert order(rows[::-1]) == order(rows)


@settings(deadline=None)
@given(rows=subsets, block_rows=st.integers(2, 9), window_blocks=small)
def test_rows_of_a_block_stay_within_a_window(
    rows: list[int], block_rows: int, window_blocks: int
) -> None:
    rng = np.random.default_rng(0)
    order = shuffled(rows, rng, block_rows=block_rows, window_blocks=window_blocks)
    for block in np.unique(order // block_rows):
        places = np.flatnonzero(order // block_rows == block)
        assert places[-1] - places[0] < block_rows * window_blocks


def test_single_rows_are_a_plain_permutation() -> None:
    rows = np.arange(5, 90)
    np.testing.assert_array_equal(
        shuffled(rows, np.random.default_rng(3), block_rows=1, window_blocks=4),
        np.random.default_rng(3).permutation(rows),
    )


@pytest.mark.parametrize(("block_rows", "window_blocks"), [(0, 1), (4, 0)])
def test_empty_blocks_and_windows_are_refused(block_rows: int, window_blocks: int) -> None:
    with pytest.raises(ValueError, match="at least one row and block"):
        shuffled([1], np.random.default_rng(0), block_rows=block_rows, window_blocks=window_blocks)


def by_blocks(rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return shuffled(rows, rng, block_rows=4, window_blocks=3)


def unshuffled(rows: NDArray[np.intp], _: np.random.Generator) -> NDArray[np.intp]:
    return rows


def inside_windows_only(rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return np.concatenate([rng.permutation(window) for window in rows.reshape(-1, 12)])


def blocks_only(rows: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
    return rng.permutation(rows.reshape(-1, 4), axis=0).reshape(-1)


def uniformity(shuffle: Shuffle, row: int, num_rows: int = 48, epochs: int = 3000) -> float:
    """p-value of a chi-square test that the row's place is uniform over the epochs."""
    rng, rows = np.random.default_rng(11), np.arange(num_rows)
    places = [int(np.flatnonzero(shuffle(rows, rng) == row)[0]) for _ in range(epochs)]
    return float(stats.chisquare(np.bincount(places, minlength=num_rows)).pvalue)


@pytest.mark.parametrize("row", [0, 5, 47])
def test_the_place_of_a_row_is_uniform_over_epochs(row: int) -> None:
    assert uniformity(by_blocks, row) > 1e-3


@pytest.mark.parametrize("fault", [unshuffled, inside_windows_only, blocks_only])
def test_orders_that_are_not_uniform_are_told_apart(fault: Shuffle) -> None:
    assert uniformity(fault, 5) < 1e-9


def test_neighbours_share_a_batch_as_often_as_documented() -> None:
    block_rows, window_blocks, batch, rows = 4, 16, 16, np.arange(512)
    window, together, epochs = block_rows * window_blocks, 0, 3000
    rng = np.random.default_rng(5)
    for _ in range(epochs):
        order = shuffled(rows, rng, block_rows=block_rows, window_blocks=window_blocks)
        first, second = (int(np.flatnonzero(order == row)[0]) // batch for row in (100, 101))
        together += first == second
    # (batch - 1) other places in the batch out of (window - 1); a plain permutation: 15 / 511.
    expected = (batch - 1) / (window - 1)
    assert stats.binomtest(together, epochs, expected).pvalue > 1e-3
    assert stats.binomtest(together, epochs, (batch - 1) / (len(rows) - 1)).pvalue < 1e-9
