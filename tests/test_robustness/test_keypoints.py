"""Degraded 2D joints against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.degrading.draws import generator_of
from stages.lift.degraded_keypoints import add_noise, drop_joints

N, V, J = 400, 2, 17
BOXES = np.tile([30.0, 40.0, 90.0, 240.0], (N, 1))  # 60 x 200


def joints(seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    points = rng.uniform(50, 80, (N, V, J, 3)).astype(np.float32)
    points[..., 2] = 0.9
    return points


def rngs(name: str) -> list[np.random.Generator]:
    return [generator_of(0, name, row) for row in range(N)]


def test_noise_has_the_stated_deviation_in_each_coordinate_and_view() -> None:
    moved = add_noise(joints(), BOXES, 0.04, rngs("noise"))[..., :2] - joints()[..., :2]
    spread = moved.std(axis=(0, 2))  # [V, 2]
    np.testing.assert_allclose(spread, 0.04 * 200.0, rtol=0.03)
    assert np.abs(moved.mean()) < 0.2
    np.testing.assert_allclose(moved[:, 0], moved[:, 1], atol=1e-4)


def test_noise_grows_with_the_box_and_keeps_scores() -> None:
    boxes = BOXES.copy()
    boxes[1::2, 3] = 140.0  # half as high
    noisy = add_noise(joints(), boxes, 0.04, rngs("noise"))
    moved = noisy[..., :2] - joints()[..., :2]
    assert moved[1::2].std() == pytest.approx(4.0, rel=0.05)
    assert moved[::2].std() == pytest.approx(8.0, rel=0.05)
    np.testing.assert_array_equal(noisy[..., 2], joints()[..., 2])


def test_the_stated_share_of_joints_is_lost_in_all_views() -> None:
    lossy = drop_joints(joints(), BOXES, 0.2, rngs("dropped"))
    lost = lossy[..., 2] == 0.0
    assert (lost.sum(axis=2) == 3).all()  # round(0.2 * 17)
    np.testing.assert_array_equal(lost[:, 0], lost[:, 1])
    np.testing.assert_array_equal(lossy[~lost], joints()[~lost])
    # Every joint is lost about equally often.
    np.testing.assert_allclose(lost[:, 0].mean(axis=0), 3 / 17, atol=0.07)


def test_lost_joints_lie_anywhere_in_the_box() -> None:
    lossy = drop_joints(joints(), BOXES, 1.0, rngs("dropped"))[:, 0, :, :2].reshape(-1, 2)
    low, high = BOXES[0, :2], BOXES[0, 2:]
    assert (lossy >= low).all()
    assert (lossy <= high).all()
    np.testing.assert_allclose(lossy.mean(axis=0), (low + high) / 2, rtol=0.02)
    np.testing.assert_allclose(lossy.std(axis=0), (high - low) / np.sqrt(12), rtol=0.03)


def test_what_a_small_share_loses_a_larger_one_loses_at_the_same_places() -> None:
    few = drop_joints(joints(), BOXES, 0.1, rngs("dropped"))
    many = drop_joints(joints(), BOXES, 0.5, rngs("dropped"))
    lost = few[..., 2] == 0.0
    np.testing.assert_array_equal(few[lost], many[lost])


@pytest.mark.parametrize("degrade", [add_noise, drop_joints])
def test_nothing_is_no_change_and_inputs_are_not_written_to(degrade: object) -> None:
    given, boxes = joints(), BOXES.copy()
    assert callable(degrade)
    np.testing.assert_array_equal(degrade(given, boxes, 0.0, rngs("noise")), joints())
    first = degrade(given, boxes, 0.3, rngs("noise"))
    np.testing.assert_array_equal(first, degrade(given, boxes, 0.3, rngs("noise")))
    np.testing.assert_array_equal(given, joints())
    np.testing.assert_array_equal(boxes, BOXES)
