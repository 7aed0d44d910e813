"""Tables as published results define them, against formulas in plain numpy and scipy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from lifter import metrics
from stages.lift.scores import FrameScores, mean_of_groups, score_frames, summarise_groups

Floats = np.ndarray[Any, np.dtype[np.float64]]
MEAN_METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck", "auc")


def drawn(seed: int, num: int) -> tuple[Floats, Floats]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(num, 17, 3)) * 300
    return true + rng.normal(size=true.shape) * 60, true


def scored(predicted: Floats, true: Floats, **options: Any) -> FrameScores:
    follows = np.arange(len(true)) > 0
    return score_frames(
        predicted,
        true,
        **{"follows": follows, "pck_threshold_mm": 150.0, "skeleton": "H36M17"} | options,
    )


def published_table(
    predicted: Floats, true: Floats, actions: Sequence[str]
) -> dict[str, dict[str, float]]:
    """Metrics of every action: frame by frame, joint by joint, nothing from this project."""
    table = {}
    for action in dict.fromkeys(actions):
        frames = [i for i, name in enumerate(actions) if name == action]
        errors, aligned, normalised, steps = [], [], [], []
        for position, i in enumerate(frames):
            errors += [
                float(np.sqrt(((predicted[i, j] - true[i, j]) ** 2).sum())) for j in range(17)
            ]
            # scipy scales the target to unit size; reflections do not fit better here.
            unit_true, unit_fit, _ = procrustes(true[i], predicted[i])
            size = np.linalg.norm(true[i] - true[i].mean(0))
            aligned.append(np.linalg.norm(unit_fit - unit_true, axis=-1).mean() * size)
            scale = np.linalg.lstsq(predicted[i].reshape(-1, 1), true[i].ravel(), rcond=None)[0]
            normalised.append(np.linalg.norm(scale * predicted[i] - true[i], axis=-1).mean())
            if position:
                before = frames[position - 1]
                moved = (predicted[i] - predicted[before]) - (true[i] - true[before])
                steps.append(np.linalg.norm(moved, axis=-1).mean())
        curve = [np.mean([e < limit for e in errors]) for limit in np.linspace(0, 150, 31)]
        table[action] = {
            "mpjpe_mm": float(np.mean(errors)),
            "p_mpjpe_mm": float(np.mean(aligned)),
            "n_mpjpe_mm": float(np.mean(normalised)),
            "mpjve_mm": float(np.mean(steps)),
            "pck": float(np.mean([e < 150 for e in errors])),
            "auc": float(np.mean(curve)),
        }
    return table


def check_action_wise(
    mean: Callable[[Mapping[str, Any]], Mapping[str, Any]], seed: int, counts: Sequence[int]
) -> None:
    """Compares a mean over actions with the published one, on actions of so many frames."""
    words = [f"action {i}" for i, count in enumerate(counts) for _ in range(count)]
    order = np.random.default_rng(seed).permutation(len(words))
    actions = [words[i] for i in order]  # an action is in several places, as trials are
    predicted, true = drawn(seed, len(actions))
    predicted[[a == actions[0] for a in actions]] += 100.0  # one action is harder than the others
    expected = published_table(predicted, true, actions)
    groups = summarise_groups(scored(predicted, true, velocity="concatenated"), actions)
    assert list(groups) == list(expected)
    for action, found in groups.items():
        for name in MEAN_METRICS:
            assert found[name] == pytest.approx(expected[action][name]), (action, name)
    found = dict(mean(groups))
    for name in MEAN_METRICS:
        wanted = sum(one[name] for one in expected.values()) / len(expected)
        assert found[name] == pytest.approx(wanted), name


@given(seed=st.integers(0, 2**16), counts=st.lists(st.integers(2, 6), min_size=1, max_size=4))
@settings(max_examples=15, deadline=None)
def test_action_wise_means_are_those_of_the_papers(seed: int, counts: list[int]) -> None:
    check_action_wise(mean_of_groups, seed, counts)


def test_a_mean_that_weights_actions_by_their_frames_is_noticed() -> None:
    def weighted(groups: Mapping[str, Any]) -> dict[str, float]:
        frames = [group["num_frames"] for group in groups.values()]
        return {
            name: float(np.average([group[name] for group in groups.values()], weights=frames))
            for name in MEAN_METRICS
        }

    check_action_wise(weighted, 0, [3, 3])  # equal counts hide it
    with pytest.raises(AssertionError, match="mpjpe_mm"):
        check_action_wise(weighted, 0, [2, 6])


def test_concatenated_velocity_counts_the_step_from_clip_to_clip_and_the_other_does_not() -> None:
    # Two clips of two frames; predictions drift by 1 mm a frame in x, true poses stand still,
    # and the second clip is 100 mm off.
    true = np.zeros((4, 17, 3))
    predicted = np.zeros((4, 17, 3))
    predicted[:, :, 0] = np.array([0.0, 1.0, 101.0, 102.0])[:, None]
    follows = np.array([False, True, False, True])
    steps = {}
    for velocity in ("clips", "concatenated"):
        scores = scored(predicted, true, follows=follows, velocity=velocity)
        (group,) = summarise_groups(scores, ["Walking"] * 4).values()
        steps[velocity] = group["mpjve_mm"]
    assert steps == {"clips": pytest.approx(1.0), "concatenated": pytest.approx((1 + 100 + 1) / 3)}


def test_concatenated_frames_of_an_action_are_neighbours_whatever_lies_between() -> None:
    true = np.zeros((4, 17, 3))
    predicted = np.zeros((4, 17, 3))
    predicted[:, :, 1] = np.array([0.0, 50.0, 3.0, 57.0])[:, None]
    groups = summarise_groups(
        scored(predicted, true, velocity="concatenated"), ["Walking", "Sitting"] * 2
    )
    assert groups["Walking"]["mpjve_mm"] == pytest.approx(3.0)
    assert groups["Sitting"]["mpjve_mm"] == pytest.approx(7.0)


def test_an_action_of_one_frame_has_no_velocity_and_does_not_count_in_the_mean() -> None:
    predicted, true = drawn(1, 3)
    scores = scored(predicted, true, velocity="concatenated")
    groups = summarise_groups(scores, ["Walking", "Walking", "Sitting"])
    assert groups["Sitting"]["mpjve_mm"] is None
    assert mean_of_groups(groups)["mpjve_mm"] == groups["Walking"]["mpjve_mm"]


@given(seed=st.integers(0, 2**16), scale=st.floats(0.2, 5.0))
@settings(max_examples=15, deadline=None)
def test_protocol_2_does_not_see_rotation_scale_and_place_of_a_prediction(
    seed: int, scale: float
) -> None:
    predicted, true = drawn(seed, 4)
    rotations = Rotation.random(4, rng=seed).as_matrix()
    moved = scale * np.einsum("nij,nkj->nki", rotations, predicted) + [500.0, -200.0, 3000.0]
    before, after = (metrics.p_mpjpe_per_frame_mm(p, true) for p in (predicted, moved))
    np.testing.assert_allclose(after, before, rtol=1e-8)
    assert metrics.mpjpe_mm(moved, true) > metrics.p_mpjpe_mm(moved, true)


@given(seed=st.integers(0, 2**16), scale=st.floats(0.2, 5.0))
@settings(max_examples=15, deadline=None)
def test_n_mpjpe_does_not_see_the_scale_of_a_prediction_but_its_rotation(
    seed: int, scale: float
) -> None:
    predicted, true = drawn(seed, 4)
    before = metrics.n_mpjpe_per_frame_mm(predicted, true)
    np.testing.assert_allclose(metrics.n_mpjpe_per_frame_mm(scale * predicted, true), before)
    turned = predicted @ Rotation.from_euler("z", 40, degrees=True).as_matrix().T
    assert (metrics.n_mpjpe_per_frame_mm(turned, true) > before + 1.0).all()


def test_the_scale_of_n_mpjpe_is_the_one_with_the_least_squared_error() -> None:
    predicted, true = drawn(3, 3)
    for pose, target in zip(predicted, true, strict=True):
        best = minimize_scalar(lambda s, p=pose, t=target: ((s * p - t) ** 2).sum(), tol=1e-12)
        expected = np.linalg.norm(best.x * pose - target, axis=-1).mean()
        assert metrics.n_mpjpe_mm(pose[None], target[None]) == pytest.approx(expected, rel=1e-6)


def test_pck_and_auc_of_mpi_inf_3dhp_are_the_official_ones() -> None:
    rng = np.random.default_rng(4)
    true = np.zeros((20, 17, 3))
    predicted = np.zeros((20, 17, 3))
    # Whole multiples of 5 mm, so that errors lie on thresholds and `<` differs from `<=`.
    predicted[..., 2] = 5.0 * rng.integers(0, 40, size=(20, 17))
    (found,) = summarise_groups(scored(predicted, true, skeleton="MPI17"), ["TS1"] * 20).values()
    errors = predicted[:, :14, 2].ravel()
    limits = range(0, 155, 5)
    assert len(limits) == 31
    assert found["pck"] == pytest.approx(sum(e < 150 for e in errors) / errors.size)
    expected = [sum(e < limit for e in errors) / errors.size for limit in limits]
    assert found["auc"] == pytest.approx(sum(expected) / 31)
    tolerant = [sum(e <= limit for e in errors) / errors.size for limit in limits]
    assert found["auc"] != pytest.approx(sum(tolerant) / 31, rel=1e-3)
    assert found["mpjpe_mm"] == pytest.approx(predicted[..., 2].mean())  # of all 17
