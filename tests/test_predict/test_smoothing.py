"""Smoothing over time, against scipy's filter where that is defined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from pipeline.predict.smoothing import smooth_poses


def noisy(num_frames: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(num_frames, 5, 3)).cumsum(axis=0)


def test_frames_away_from_the_ends_are_as_scipy_filters_them() -> None:
    poses = noisy(80)
    found = smooth_poses(poses, np.zeros(80, dtype=np.int64), np.arange(80) / 25.0, 2 / 25.0)
    expected = gaussian_filter1d(poses, 2.0, axis=0, truncate=4.0)
    np.testing.assert_allclose(found[10:-10], expected[10:-10], atol=1e-3)
    assert np.abs(found - gaussian_filter1d(poses, 2.5, axis=0))[10:-10].max() > 0.05


def test_a_straight_line_in_the_middle_stays_one() -> None:
    line = np.linspace(0, 1, 41)[:, None, None] * np.ones((1, 5, 3))
    found = smooth_poses(line, np.zeros(41, dtype=np.int64), np.arange(41) / 10.0, 0.2)
    np.testing.assert_allclose(found[20], line[20], atol=1e-12)


def test_persons_do_not_mix_and_gaps_weigh_nothing() -> None:
    poses, clips = noisy(20), np.repeat([0, 1], 10)
    poses[4] = np.nan
    times = np.tile(np.arange(10) / 25.0, 2)
    both = smooth_poses(poses, clips, times, 0.1)
    alone = smooth_poses(poses[10:], clips[10:], times[10:], 0.1)
    np.testing.assert_array_equal(both[10:], alone)
    assert np.isnan(both[4]).all()
    assert np.isfinite(np.delete(both, 4, axis=0)).all()
    there = np.delete(np.arange(10), 4)
    weights = np.exp(-0.5 * ((times[there] - times[3]) / 0.1) ** 2)
    by_hand = np.tensordot(weights, poses[there], axes=1) / weights.sum()
    np.testing.assert_allclose(both[3], by_hand, atol=1e-12)


@pytest.mark.parametrize("num_frames", [0, 1])
def test_nothing_to_smooth_changes_nothing(num_frames: int) -> None:
    poses = noisy(20)[:num_frames]
    clips = np.zeros(num_frames, dtype=np.int64)
    np.testing.assert_array_equal(smooth_poses(poses, clips, clips / 25.0, 0.1), poses)


def test_no_smoothing_returns_the_poses_as_they_are() -> None:
    poses = noisy(5)
    found = smooth_poses(poses, np.zeros(5, dtype=np.int64), np.arange(5) / 25.0, 0.0)
    np.testing.assert_array_equal(found, poses)
    assert found is not poses
