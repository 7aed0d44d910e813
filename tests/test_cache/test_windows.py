from __future__ import annotations

import re
from collections.abc import Callable
from functools import reduce
from itertools import combinations
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache import CacheReader, ClipWindows, StoreWindows, WindowShape
from tests.test_cache.factory import array_rows, make_plan, make_spec, write_store
from tests.test_cache.windows_by_hand import Clips, Window, window_by_hand

SHAPES = st.one_of(
    st.builds(
        lambda half, step: WindowShape(2 * half + 1, step=step),
        st.integers(0, 4),
        st.integers(1, 3),
    ),
    st.builds(
        lambda length, step: WindowShape(length, causal=True, step=step),
        st.integers(1, 9),
        st.integers(1, 3),
    ),
)
CLIPS: st.SearchStrategy[Clips] = st.lists(
    st.builds(
        lambda numbers, unit, first: [first + unit * number for number in sorted(numbers)],
        st.sets(st.integers(0, 12), min_size=1, max_size=10),
        st.sampled_from([1, 2, 5]),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=4,
)


def arrays(clips: Clips) -> tuple[np.ndarray, np.ndarray]:
    """Codes, not in order and used again by the next clip but one, and frame numbers."""
    codes = np.repeat([7 * (i % 2) for i in range(len(clips))], [len(clip) for clip in clips])
    return codes.astype(np.int32), np.concatenate(clips).astype(np.int32)


def windows_of(clips: Clips, shape: WindowShape) -> ClipWindows:
    return ClipWindows(*arrays(clips), shape)


def require_same_windows(find: Callable[[int], Window], clips: Clips, shape: WindowShape) -> None:
    for position in range(sum(map(len, clips))):
        assert find(position) == window_by_hand(clips, position, shape), position


def as_lists(windows: ClipWindows) -> Callable[[int], Window]:
    def find(position: int) -> Window:
        positions, real = windows.of(np.array([position]))
        return positions[0].tolist(), real[0].tolist()

    return find


@given(clips=CLIPS, shape=SHAPES)
@example(clips=[[0, 1, 4]], shape=WindowShape(3))  # a gap whose neighbours are equally near
@example(clips=[[3], [3]], shape=WindowShape(9))
def test_windows_are_those_found_by_looking_at_every_frame(
    clips: Clips, shape: WindowShape
) -> None:
    require_same_windows(as_lists(windows_of(clips, shape)), clips, shape)


@given(clips=CLIPS, shape=SHAPES)
def test_windows_of_many_targets_are_those_of_each(clips: Clips, shape: WindowShape) -> None:
    windows = windows_of(clips, shape)
    targets = np.random.default_rng(0).integers(len(windows), size=11)
    positions, real = windows.of(targets)
    assert positions.shape == real.shape == (11, shape.num_frames)
    for row, target in enumerate(targets.tolist()):
        expected = as_lists(windows)(target)
        assert (positions[row].tolist(), real[row].tolist()) == expected


@given(clips=CLIPS, shape=SHAPES)
def test_windows_stay_in_their_clip_and_hold_their_target_really(
    clips: Clips, shape: WindowShape
) -> None:
    windows = windows_of(clips, shape)
    everything = np.arange(len(windows))
    clip = np.repeat(np.arange(len(clips)), [len(each) for each in clips])
    positions, real = windows.of(everything)
    assert (clip[positions] == clip[:, None]).all()
    assert (positions[:, shape.target] == everything).all()
    assert real[:, shape.target].all()
    assert (np.diff(positions, axis=1) >= 0).all()
    if shape.causal:
        assert (positions <= everything[:, None]).all()
    first = np.repeat(np.cumsum([0] + [len(each) for each in clips])[:-1], np.bincount(clip))
    np.testing.assert_array_equal(windows.first_of_clip, first)


FAULTS: dict[str, Callable[[ClipWindows, int], Window]] = {
    "across clips": lambda windows, position: (
        [min(max(position + k, 0), len(windows) - 1) for k in (-1, 0, 1)],
        as_lists(windows)(position)[1],
    ),
    "all called real": lambda windows, position: (as_lists(windows)(position)[0], [True] * 3),
    "one step late": lambda windows, position: as_lists(windows)(min(position + 1, 6)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_the_comparison_of_windows_sees_a_fault(fault: str) -> None:
    clips = [[0, 1, 2, 3], [0, 1, 2]]
    windows = windows_of(clips, WindowShape(3))
    with pytest.raises(AssertionError):
        require_same_windows(
            lambda position: FAULTS[fault](windows, position), clips, WindowShape(3)
        )


def test_edges_repeat_gaps_take_the_nearest_and_steps_skip() -> None:
    # Frame 30 is missing, and its neighbours are equally near.
    windows = windows_of([[0, 10, 20, 40, 50]], WindowShape(5))
    assert as_lists(windows)(0) == ([0, 0, 0, 1, 2], [False, False, True, True, True])
    assert as_lists(windows)(2) == ([0, 1, 2, 3, 3], [True, True, True, False, True])
    assert as_lists(windows)(4) == ([3, 3, 4, 4, 4], [False, True, True, False, False])
    skipping = windows_of([[0, 1, 2, 3, 4, 5]], WindowShape(3, step=2))
    assert as_lists(skipping)(3) == ([1, 3, 5], [True, True, True])
    assert as_lists(skipping)(1) == ([0, 1, 3], [False, True, True])
    causal = windows_of([[0, 1, 2]], WindowShape(2, causal=True))
    assert as_lists(causal)(2) == ([1, 2], [True, True])
    assert as_lists(causal)(0) == ([0, 0], [False, True])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_frames": 0}, "at least one frame"),
        ({"num_frames": 3, "step": 0}, "steps of at least one"),
        ({"num_frames": 4}, "a window of 4 frames has no middle"),
    ],
)
def test_shapes_that_are_none_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WindowShape(**arguments)


def test_frames_out_of_order_and_arrays_of_two_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="must ascend, but 3 follows 3 at position 4"):
        windows_of([[5, 6], [1, 3, 3]], WindowShape(1))
    with pytest.raises(ValueError, match="2 clips of 3 frames"):
        ClipWindows(np.zeros(2, np.int32), np.arange(3), WindowShape(1))


def test_no_frames_have_no_windows() -> None:
    windows = ClipWindows(np.empty(0, np.int32), np.empty(0, np.int32), WindowShape(3))
    assert len(windows) == 0
    assert windows.tiles().tolist() == []
    assert windows.of(np.empty(0, np.int64))[0].shape == (0, 3)


def held(windows: ClipWindows, targets: np.ndarray) -> set[int]:
    positions, real = windows.of(targets)
    return set(positions[real].tolist())


def fewest(windows: ClipWindows, chosen: list[int]) -> int:
    """The least number of windows that hold the chosen frames, by trying all sets of targets."""
    masks = [sum(1 << i for i in held(windows, np.array([t]))) for t in range(len(windows))]
    goal = sum(1 << i for i in chosen)
    for size in range(len(windows) + 1):
        for some in combinations(masks, size):
            if reduce(or_, some, 0) & goal == goal:
                return size
    raise AssertionError


@given(clips=CLIPS, shape=SHAPES, data=st.data())
def test_tiles_hold_every_chosen_frame_really(
    clips: Clips, shape: WindowShape, data: st.DataObject
) -> None:
    windows = windows_of(clips, shape)
    everything = range(len(windows))
    chosen = data.draw(st.one_of(st.none(), st.sets(st.sampled_from(everything))))
    tiles = windows.tiles(None if chosen is None else np.array(sorted(chosen), dtype=np.int64))
    assert len(set(tiles.tolist())) == len(tiles)
    assert held(windows, tiles) >= set(everything if chosen is None else chosen)


@given(numbers=st.sets(st.integers(0, 9), min_size=1, max_size=8), shape=SHAPES, data=st.data())
@example(numbers={0, 2, 3}, shape=WindowShape(5), data=None)
def test_there_are_no_more_tiles_than_needed(
    numbers: set[int], shape: WindowShape, data: st.DataObject | None
) -> None:
    windows = windows_of([sorted(numbers)], shape)
    chosen = list(range(len(windows)))
    if data is not None:
        chosen = sorted(data.draw(st.sets(st.sampled_from(chosen))))
    tiles = windows.tiles(np.array(chosen, dtype=np.int64))
    assert len(tiles) == fewest(windows, chosen)


@pytest.mark.parametrize(("length", "expected"), [(27, [13]), (28, [13, 14]), (60, [13, 40, 46])])
def test_tiles_end_with_the_clip_where_they_fit_into_it(length: int, expected: list[int]) -> None:
    windows = windows_of([list(range(length))], WindowShape(27))
    assert windows.tiles().tolist() == expected
    # Without any one of them, the comparison above sees frames that are not held.
    for left_out in expected:
        others = np.array([tile for tile in expected if tile != left_out], dtype=np.int64)
        assert held(windows, others) < set(range(length))


# Windows of stores.


class Spying(CacheReader):
    """Notes the rows that are read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.rows_read: list[int] = []

    def read(self, rows: Any, **options: Any) -> dict[str, Any]:
        self.rows_read += np.asarray(rows).tolist()
        return super().read(rows, **options)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 rows in clips of 5, frames 5 apart; the pictures of rows 10 and 21 are missing."""
    return write_store(tmp_path_factory.mktemp("windows") / "toy.zarr", make_spec(25))


def test_windows_of_a_store_read_each_row_they_need_once(store: Path) -> None:
    reader = Spying(store)
    windows = StoreWindows(reader, WindowShape(3))
    found = windows.read([7, 5, 8, 7], levels=["x8"], view=1)
    assert reader.rows_read == found.rows.tolist() == [5, 6, 7, 8, 9]
    assert found.rows[found.places].tolist() == [[6, 7, 8], [5, 5, 6], [7, 8, 9], [6, 7, 8]]
    assert found.is_real.tolist() == [[True] * 3, [False, True, True], [True] * 3, [True] * 3]
    assert list(found.maps) == ["x8"]
    expected = array_rows(reader.spec, "features/x8", found.rows)[:, 1]
    np.testing.assert_array_equal(found.maps["x8"], expected)


def test_rows_that_are_not_sound_are_replaced_by_the_nearest(store: Path) -> None:
    reader = Spying(store)
    windows = StoreWindows(reader, WindowShape(3))
    # Row 10 would begin its clip; row 21 lies inside one, between 20 and 22.
    rows, is_real = windows.rows_around([11, 20, 22])
    assert rows.tolist() == [[11, 11, 12], [20, 20, 22], [22, 22, 23]]
    assert is_real.tolist() == [[False, True, True], [False, True, False], [False, True, True]]
    windows.read([20])
    assert reader.rows_read == [20, 22]
    with pytest.raises(IndexError, match=r"no windows around the rows \[21\]: .* 23 usable ones"):
        windows.read([20, 21])
    for row in (-1, 25):
        with pytest.raises(IndexError, match=re.escape(f"[{row}]")):
            windows.read([row])


def test_one_may_choose_the_rows_that_windows_see(store: Path) -> None:
    reader = CacheReader(store)
    windows = StoreWindows(reader, WindowShape(5, causal=True), usable=np.arange(25) % 2 == 0)
    rows, is_real = windows.rows_around([8])
    assert rows.tolist() == [[6, 6, 6, 6, 8]]
    assert is_real.tolist() == [[False, False, False, True, True]]
    with pytest.raises(ValueError, match=r"bool of shape \(25,\), got int64 of \(2,\)"):
        StoreWindows(reader, WindowShape(1), usable=[1, 2])


def test_rows_that_are_not_written_yet_are_not_seen(tmp_path: Path) -> None:
    path = write_store(tmp_path / "part.zarr", make_spec(12), chunks=[0, 1])  # rows 0-7
    reader = CacheReader(path, allow_incomplete=True)
    rows, is_real = StoreWindows(reader, WindowShape(5)).rows_around([6])
    assert rows.tolist() == [[5, 5, 6, 7, 7]]
    assert is_real.tolist() == [[False, True, True, True, False]]


def test_windows_of_joined_stores_stay_in_their_store(tmp_path: Path) -> None:
    paths = []
    for seed in (0, 1):
        plan = make_plan(6, clip_rows=4, seed=seed)
        paths.append(
            write_store(
                tmp_path / f"{seed}.zarr",
                make_spec(6),
                plan=plan,
                content_identity={"adapter": "toy", "annotations": str(seed)},
            )
        )
    reader = CacheReader(paths)
    rows, _ = StoreWindows(reader, WindowShape(5)).rows_around([5, 6])
    assert rows.tolist() == [[4, 4, 5, 5, 5], [6, 6, 6, 7, 8]]


def test_without_rows_nothing_is_read(store: Path) -> None:
    found = StoreWindows(CacheReader(store), WindowShape(3)).read([])
    assert found.places.shape == found.is_real.shape == (0, 3)
    assert found.maps["x4"].shape[0] == 0
