"""Tracks: the same people in, the same people out, whatever the order and the gaps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from stages.extract.boxes.tracks import UNTRACKED, TrackConfig, link_boxes, overlaps

CONFIG = TrackConfig(min_length=3)


def walkers(
    starts: list[tuple[float, float]], speeds: list[tuple[float, float]], num_frames: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int64]]:
    """Frames, boxes of 40 x 100 px and who they are."""
    frames, boxes, who = [], [], []
    for frame in range(num_frames):
        for person, (start, speed) in enumerate(zip(starts, speeds, strict=True)):
            x, y = np.add(start, np.multiply(speed, frame))
            frames.append(frame)
            boxes.append([x, y, x + 40, y + 100])
            who.append(person)
    return np.array(frames), np.array(boxes), np.array(who)


def same_groups(tracks: NDArray[np.int64], who: NDArray[np.int64]) -> bool:
    pairs = set(zip(tracks.tolist(), who.tolist(), strict=True))
    return len(pairs) == len(set(tracks.tolist())) == len(set(who.tolist()))


def test_people_who_cross_keep_their_tracks() -> None:
    frames, boxes, who = walkers([(0, 0), (300, 6)], [(10, 0), (-10, 0)], 31)
    tracks = link_boxes(frames, boxes, np.ones(len(frames)), CONFIG)
    assert same_groups(tracks, who)
    met = [overlaps(boxes[frames == f][:1], boxes[frames == f][1:])[0, 0] for f in range(31)]
    assert max(met) > 0.8


def test_tracks_are_numbered_in_order_of_appearance() -> None:
    frames, boxes, who = walkers([(300, 0), (0, 0)], [(1, 0), (1, 0)], 5)
    late = (who == 0) & (frames < 2)
    tracks = link_boxes(frames[~late], boxes[~late], np.ones((~late).sum()), CONFIG)
    assert set(tracks[who[~late] == 1].tolist()) == {0}
    assert set(tracks[who[~late] == 0].tolist()) == {1}


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_the_order_of_boxes_does_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    starts = [(float(x), float(y)) for x, y in rng.uniform(0, 200, (4, 2))]
    speeds = [(float(x), float(y)) for x, y in rng.uniform(-8, 8, (4, 2))]
    frames, boxes, _ = walkers(starts, speeds, 12)
    scores = rng.choice([0.2, 0.5, 0.9], len(frames))
    boxes = boxes + rng.normal(0, 2, boxes.shape)
    tracks = link_boxes(frames, boxes, scores, CONFIG)
    order = rng.permutation(len(frames))
    np.testing.assert_array_equal(
        link_boxes(frames[order], boxes[order], scores[order], CONFIG), tracks[order]
    )
    for frame in range(12):
        seen = tracks[(frames == frame) & (tracks != UNTRACKED)]
        assert len(set(seen.tolist())) == len(seen)
    kept = tracks[tracks != UNTRACKED]
    assert (np.bincount(kept) >= CONFIG.min_length).all() if len(kept) else True
    assert (tracks[scores < CONFIG.min_score] == UNTRACKED).all()


@pytest.mark.parametrize(("gap", "num_tracks"), [(5, 1), (6, 2)])
def test_a_person_may_be_unseen_for_the_allowed_gap_and_no_longer(
    gap: int, num_tracks: int
) -> None:
    frames, boxes, _ = walkers([(0, 0)], [(6, 0)], 30)
    seen = (frames < 10) | (frames >= 10 + gap)
    config = TrackConfig(max_gap=5, min_length=3)
    tracks = link_boxes(frames[seen], boxes[seen], np.ones(seen.sum()), config)
    assert set(tracks.tolist()) == set(range(num_tracks))


def test_short_tracks_are_left_out() -> None:
    frames, boxes, who = walkers([(0, 0), (300, 0)], [(1, 0), (1, 0)], 6)
    kept = (who == 0) | (frames < 2)
    tracks = link_boxes(frames[kept], boxes[kept], np.ones(kept.sum()), CONFIG)
    assert set(tracks[who[kept] == 0].tolist()) == {0}
    assert set(tracks[who[kept] == 1].tolist()) == {UNTRACKED}


def test_a_jump_starts_another_track() -> None:
    frames, boxes, _ = walkers([(0, 0)], [(0, 0)], 10)
    boxes[5:] += 500
    tracks = link_boxes(frames, boxes, np.ones(10), CONFIG)
    assert tracks.tolist() == [0] * 5 + [1] * 5


def test_the_assignment_is_the_best_for_all_not_for_the_first() -> None:
    # Box 0 overlaps both people, most the second; only giving it to the first serves both.
    first = np.array([[0, 0, 40, 100], [20, 0, 60, 100]], dtype=float)
    second = np.array([[12, 0, 52, 100], [30, 0, 70, 100]], dtype=float)
    boxes = np.concatenate([first, second])
    config = TrackConfig(min_length=1, min_overlap=0.1)
    assert link_boxes([0, 0, 1, 1], boxes, np.ones(4), config).tolist() == [0, 1, 0, 1]


def test_overlap_is_intersection_over_union() -> None:
    found = overlaps([[0, 0, 10, 10]], [[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [3] * 4])
    np.testing.assert_allclose(found, [[1, 1 / 3, 0, 0]])
    assert overlaps([[1, 1, 1, 1]], [[1, 1, 1, 1]]) == 0


def test_nothing_found_is_no_track() -> None:
    assert link_boxes([], np.zeros((0, 4)), [], CONFIG).tolist() == []
