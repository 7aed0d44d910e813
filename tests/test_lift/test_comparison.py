from __future__ import annotations

import numpy as np
import pytest

from stages.lift import NotComparable, compare_metrics, paired_bootstrap


def test_a_constant_difference_is_found_whatever_the_clips_are_like() -> None:
    errors = np.random.default_rng(0).uniform(20, 200, size=(3, 12))
    errors[:] = errors[0]  # seeds agree
    result = paired_bootstrap(errors, errors - 5.0, np.arange(1, 13))
    assert result.difference_mm == pytest.approx(-5.0)
    assert (result.low_mm, result.high_mm) == pytest.approx((-5.0, -5.0))
    assert result.is_resolved


def test_equal_lifters_are_not_told_apart() -> None:
    rng = np.random.default_rng(1)
    difficulty = rng.uniform(50, 150, size=20)
    a, b = (difficulty + rng.normal(scale=3.0, size=(4, 20)) for _ in range(2))
    result = paired_bootstrap(a, b, np.full(20, 30), num_draws=2000)
    assert result.low_mm < 0.0 < result.high_mm
    assert not result.is_resolved


def test_clips_count_by_their_frames() -> None:
    a = np.array([[10.0, 100.0]])
    b = np.array([[20.0, 100.0]])
    result = paired_bootstrap(a, b, np.array([30, 10]), num_draws=100)
    assert result.mean_a_mm == pytest.approx((10 * 30 + 100 * 10) / 40)
    assert result.difference_mm == pytest.approx(7.5)


def test_seeds_that_disagree_widen_the_interval() -> None:
    clips = np.full(10, 100.0)
    agreeing = np.tile(clips, (4, 1))
    disagreeing = clips + np.array([[-20.0], [-10.0], [10.0], [20.0]])
    narrow = paired_bootstrap(agreeing, agreeing - 5.0, np.full(10, 5), num_draws=1000)
    wide = paired_bootstrap(agreeing, disagreeing - 5.0, np.full(10, 5), num_draws=1000)
    assert narrow.is_resolved
    assert not wide.is_resolved


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for trial in range(100):
        clips = rng.normal(100, 20, size=40)
        a = clips + rng.normal(scale=4.0, size=(5, 40))
        b = clips - 2.0 + rng.normal(scale=4.0, size=(5, 40))
        result = paired_bootstrap(a, b, np.full(40, 10), num_draws=200, seed=trial)
        hits += result.low_mm <= -2.0 <= result.high_mm
    assert hits >= 88


def test_errors_of_other_clips_are_refused() -> None:
    with pytest.raises(NotComparable, match=r"shape \(1, 3\); expected \[seeds, 2 clips\]"):
        paired_bootstrap(np.ones((1, 2)), np.ones((1, 3)), np.array([1, 1]))
    with pytest.raises(NotComparable, match="Errors of A are not finite"):
        paired_bootstrap(np.full((1, 2), np.nan), np.ones((1, 2)), np.array([1, 1]))


def metrics(**frames: int) -> dict[str, object]:
    clips = {name: {"mpjpe_mm": 50.0, "num_frames": count} for name, count in frames.items()}
    return {"splits": {"test": {"per_clip": clips}}}


def test_runs_on_the_same_frames_are_compared_in_any_order_of_clips() -> None:
    result = compare_metrics([metrics(a=3, b=4)], [metrics(b=4, a=3)], "test", num_draws=50)
    assert (result.num_clips, result.difference_mm) == (2, 0.0)


def test_runs_on_other_frames_or_splits_are_refused() -> None:
    with pytest.raises(NotComparable, match=r"1 clips differ \(first: b\)"):
        compare_metrics([metrics(a=3, b=4)], [metrics(a=3, b=5)], "test")
    with pytest.raises(NotComparable, match="not evaluated on 'validation', only on test"):
        compare_metrics([metrics(a=3)], [metrics(a=3)], "validation")
    with pytest.raises(NotComparable, match="at least one run"):
        compare_metrics([], [metrics(a=3)], "test")
