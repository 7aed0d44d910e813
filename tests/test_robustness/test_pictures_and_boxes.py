"""Degraded pictures and boxes against sums by hand."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.crops import box_for_row
from stages.extract.datasets.wrapped import WrappedDataset
from stages.extract.degrading.dataset import DegradedDataset
from stages.extract.degrading.draws import generator_of
from stages.extract.degrading.jitter import jitter_box, jittered_plan
from stages.extract.degrading.occluder import LARGEST_SHARE, occlude
from stages.extract.degrading.resolution import reduce_resolution
from tests.test_pipeline.drawn_store import Drawn

BOX = np.array([40.3, 20.8, 140.3, 220.8])
ROWS = range(60)


def picture(seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (260, 200, 3), dtype=np.uint8)


def occluded(row: int, share: float, box: NDArray[np.float64] = BOX) -> NDArray[np.uint8]:
    return occlude(picture(), box, share, generator_of(0, "occluder", row))


def covered(row: int, share: float) -> NDArray[np.bool_]:
    return (occluded(row, share) != picture()).any(axis=-1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.4, LARGEST_SHARE])
def test_an_occluder_covers_the_share_of_the_box(share: float) -> None:
    shares = [covered(row, share).sum() / (100.0 * 200.0) for row in ROWS]
    # A few of the textured pixels have the colour that was there; the border has half pixels.
    np.testing.assert_allclose(shares, share, rtol=0.05)


def test_both_shapes_occur_and_a_rectangle_is_full() -> None:
    fills = []
    for row in ROWS:
        y, x = np.nonzero(covered(row, 0.2))
        fills.append(len(x) / ((np.ptp(x) + 1) * (np.ptp(y) + 1)))
    fills = np.array(fills)
    is_ellipse = fills < 0.9
    assert 10 < is_ellipse.sum() < 50
    np.testing.assert_allclose(fills[is_ellipse], np.pi / 4, atol=0.03)
    np.testing.assert_allclose(fills[~is_ellipse], 1.0, atol=0.01)


def test_nothing_outside_the_box_is_covered() -> None:
    outside = np.ones((260, 200), dtype=bool)
    outside[21:221, 41:141] = False  # pixel centres in the box
    assert not any((covered(row, LARGEST_SHARE) & outside).any() for row in ROWS)


def test_an_occluder_of_a_box_that_leaves_the_picture_is_cut_off() -> None:
    box = np.array([150.0, 200.0, 350.0, 400.0])
    for row in ROWS:
        changed = (occluded(row, 0.5, box) != picture()).any(axis=-1)
        assert not changed[:200].any()
        assert not changed[:, :150].any()


def test_an_occluder_of_three_times_the_share_covers_three_times_as_much() -> None:
    weak, strong = covered(3, 0.1).mean(), covered(3, 0.3).mean()
    assert strong == pytest.approx(3 * weak, rel=0.06)


def test_no_share_is_no_occluder_and_too_large_ones_are_refused() -> None:
    np.testing.assert_array_equal(occluded(0, 0.0), picture())
    with pytest.raises(ValueError, match=r"covers 0 to 0\.75 of a box, not 0\.8"):
        occluded(0, 0.8)


def test_factor_1_is_the_picture_itself() -> None:
    np.testing.assert_array_equal(reduce_resolution(picture(), 1.0), picture())
    with pytest.raises(ValueError, match=r"1 or more, not 0\.5"):
        reduce_resolution(picture(), 0.5)


def test_a_low_resolution_has_the_means_of_the_blocks() -> None:
    small = reduce_resolution(picture(), 4.0)
    blocks = picture().reshape(65, 4, 50, 4, 3).mean(axis=(1, 3))
    # Bilinear: at the middle of four low pixels is the mean of the four.
    assert small.shape == picture().shape
    expected = (blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:]) / 4
    found = (
        small[3:-4:4, 3:-4:4].astype(float)
        + small[4:-3:4, 3:-4:4]
        + small[3:-4:4, 4:-3:4]
        + small[4:-3:4, 4:-3:4]
    ) / 4
    np.testing.assert_allclose(found, expected, atol=1.5)
    assert small.std() < picture().std() / 2


def test_a_low_resolution_does_not_move_the_picture() -> None:
    ramp = np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 260, axis=0)
    ramp = np.repeat(ramp, 3, axis=2)
    small = reduce_resolution(ramp, 8.0)
    inside = slice(16, -16)
    np.testing.assert_allclose(small[:, inside].astype(float), ramp[:, inside], atol=1.0)


def test_jitter_of_0_is_the_box_itself() -> None:
    np.testing.assert_array_equal(jitter_box(BOX, 0.0, generator_of(0, "jitter", 1)), BOX)


def test_jitter_shifts_and_scales_up_to_its_strength() -> None:
    boxes = np.array([jitter_box(BOX, 0.2, generator_of(0, "jitter", row)) for row in range(3000)])
    shifts = (boxes[:, :2] + boxes[:, 2:] - BOX[:2] - BOX[2:]) / 2 / [100.0, 200.0]
    assert np.abs(shifts).max() <= 0.2
    np.testing.assert_allclose(np.abs(shifts).mean(axis=0), 0.1, rtol=0.05)  # uniform in +-0.2
    factors = (boxes[:, 2] - boxes[:, 0]) / 100.0
    np.testing.assert_allclose((boxes[:, 3] - boxes[:, 1]) / 200.0, factors)
    assert factors.min() >= 1 / 1.2
    assert factors.max() <= 1.2
    assert np.median(factors) == pytest.approx(1.0, abs=0.01)


def test_a_stronger_jitter_goes_the_same_way() -> None:
    weak, strong = (
        jitter_box(BOX, strength, generator_of(0, "jitter", 5)) for strength in (0.1, 0.2)
    )
    shift = (weak[:2] + weak[2:]) - (BOX[:2] + BOX[2:])
    np.testing.assert_allclose((strong[:2] + strong[2:]) - (BOX[:2] + BOX[2:]), 2 * shift)


def test_a_jittered_plan_changes_the_boxes_asked_for_and_nothing_else() -> None:
    plan = Drawn().plan()
    changed = jittered_plan(plan, [2, 5], "gt2d", 0.1, seed=0)
    assert plan.boxes_px is None
    for row in (2, 5):
        expected = jitter_box(box_for_row(plan, row, "gt2d"), 0.1, generator_of(0, "jitter", row))
        np.testing.assert_allclose(box_for_row(changed, row, "imported"), expected, rtol=1e-6)
    np.testing.assert_array_equal(changed.joints_2d_px, plan.joints_2d_px)


def test_draws_are_equal_for_equal_arguments_only() -> None:
    def draw(*arguments: int | str) -> float:
        return float(generator_of(*arguments).random())  # type: ignore[arg-type]

    assert draw(0, "noise", 3) == draw(0, "noise", 3)
    others = [draw(1, "noise", 3), draw(0, "jitter", 3), draw(0, "noise", 4)]
    assert len({draw(0, "noise", 3), *others}) == 4


def degraded(degradation: str, strength: float) -> DegradedDataset:
    boxes = {0: np.array([10.0, 10.0, 60.0, 80.0]), 1: np.array([20.0, 10.0, 70.0, 80.0])}
    return DegradedDataset(Drawn(), degradation, strength, boxes_px=boxes, seed=0)  # type: ignore[arg-type]


@pytest.mark.parametrize(("degradation", "strength"), [("occluder", 0.3), ("resolution", 3.0)])
def test_a_degraded_dataset_gives_the_same_pictures_in_another_process(
    degradation: str, strength: float
) -> None:
    dataset = degraded(degradation, strength)
    again = pickle.loads(pickle.dumps(dataset))
    np.testing.assert_array_equal(dataset.load_image(1), again.load_image(1))
    assert isinstance(dataset, WrappedDataset)
    assert dataset.content_identity() == Drawn().content_identity()


def test_persons_share_a_picture_unless_each_has_an_occluder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Drawn, "picture_key", lambda _self, _row: 7)
    assert degraded("resolution", 2.0).picture_key(0) == degraded("resolution", 2.0).picture_key(1)
    assert degraded("occluder", 0.1).picture_key(0) != degraded("occluder", 0.1).picture_key(1)


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_inputs_are_not_written_to(share: float) -> None:
    given, box = picture(), BOX.copy()
    occlude(given, box, share, generator_of(0, "occluder", 0))[:] = 0
    reduce_resolution(given, 1.0 + share)[:] = 0
    jitter_box(box, share, generator_of(0, "jitter", 0))[:] = 0
    np.testing.assert_array_equal(given, picture())
    np.testing.assert_array_equal(box, BOX)
