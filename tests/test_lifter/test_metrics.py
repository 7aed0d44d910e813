from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from cache.skeletons import SKELETONS
from lifter import metrics
from lifter.errors import MetricError


def random_poses(seed: int, *, num: int = 6) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(num, 17, 3)) * 300
    return true + rng.normal(size=true.shape) * 60, true


def test_hand_computed_poses() -> None:
    true = np.zeros((2, 2, 3))
    predicted = np.array(
        [[[3.0, 4.0, 0.0], [0.0, 0.0, 160.0]], [[0.0, 0.0, 0.0], [0.0, 10.0, 0.0]]]
    )
    assert metrics.joint_errors_mm(predicted, true).tolist() == [[5.0, 160.0], [0.0, 10.0]]
    assert metrics.mpjpe_mm(predicted, true) == pytest.approx(175 / 4)
    assert metrics.pck(predicted, true) == 0.75
    assert metrics.pck(predicted, true, threshold_mm=10.0) == 0.5  # strictly nearer
    # of 31 limits 0, 5, ..., 150: 5 is beaten by 29, 160 by 0, 0 by 30, 10 by 28
    assert metrics.auc(predicted, true) == pytest.approx((29 + 0 + 30 + 28) / (31 * 4))
    assert len(metrics.AUC_THRESHOLDS_MM) == 31


def test_mpi_inf_3dhp_counts_14_of_its_17_joints() -> None:
    names = [SKELETONS["MPI17"].joints[joint] for joint in metrics.MPI_INF_3DHP_JOINTS]
    assert names == [
        "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
        "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip",
        "left_knee", "left_ankle",
    ]  # fmt: skip
    predicted = np.zeros((1, 17, 3))
    predicted[0, 3, 2] = 150.0  # as far as the threshold is not within it
    predicted[0, 4, 0] = 149.0
    predicted[0, 14:, 1] = 1000.0  # root, spine and head do not count
    counted = metrics.MPI_INF_3DHP_JOINTS
    true = np.zeros((1, 17, 3))
    assert metrics.pck(predicted, true, joints=counted) == pytest.approx(13 / 14)
    # Of 31 limits 0, 5, ..., 150: no error is below 30 of them, 149 mm below one, 150 below none.
    assert metrics.auc(predicted, true, joints=counted) == pytest.approx(
        (12 * 30 + 1 + 0) / (31 * 14)
    )
    assert metrics.pck(predicted, true) == pytest.approx(13 / 17)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_aligned_error_equals_scipy_where_no_reflection_fits_better(seed: int) -> None:
    predicted, true = random_poses(seed)
    for pose, target, aligned in zip(
        predicted, true, metrics.align_mm(predicted, true), strict=True
    ):
        unit_target, unit_pose, _ = procrustes(target, pose)
        size = np.linalg.norm(target - target.mean(0))
        np.testing.assert_allclose(
            aligned - target, (unit_pose - unit_target) * size, atol=1e-9 * size
        )


@given(seed=st.integers(0, 2**16), scale=st.floats(0.1, 10.0))
@settings(max_examples=20, deadline=None)
def test_aligned_error_of_a_moved_turned_and_scaled_pose_is_zero(seed: int, scale: float) -> None:
    _, true = random_poses(seed)
    rotations = Rotation.random(len(true), rng=seed).as_matrix()
    moved = scale * np.einsum("nij,nkj->nki", rotations, true) + 1000.0
    assert metrics.p_mpjpe_mm(moved, true) < 1e-7
    assert metrics.mpjpe_mm(moved, true) > 100
    assert metrics.n_mpjpe_mm(scale * true, true) < 1e-9


def test_mirrored_pose_is_not_aligned_by_a_reflection() -> None:
    _, true = random_poses(0)
    mirrored = true * [-1, 1, 1]
    assert metrics.p_mpjpe_mm(mirrored, true) > 50
    aligned = metrics.align_mm(mirrored, true)
    # The best proper rotation, found by scipy from the same joints.
    for pose, target, found in zip(mirrored, true, aligned, strict=True):
        source, goal = pose - pose.mean(0), target - target.mean(0)
        rotation, _ = Rotation.align_vectors(goal, source)
        turned = rotation.apply(source)
        scale = (turned * goal).sum() / (turned**2).sum()
        np.testing.assert_allclose(found, scale * turned + target.mean(0), atol=1e-6)


@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_more_freedom_never_increases_the_squared_error(seed: int) -> None:
    predicted, true = random_poses(seed)
    power = (predicted**2).sum((1, 2))
    scaled = ((predicted * true).sum((1, 2)) / power)[:, None, None] * predicted
    squared = [((p - true) ** 2).sum((1, 2)) for p in (predicted, scaled)]
    assert (squared[1] <= squared[0] + 1e-6).all()
    aligned = ((metrics.align_mm(predicted, true) - true) ** 2).sum((1, 2))
    assert (aligned <= squared[1] + 1e-6).all()
    assert metrics.n_mpjpe_mm(predicted, true) == pytest.approx(metrics.mpjpe_mm(scaled, true))


def test_velocity_error_stays_inside_clips() -> None:
    still = np.zeros((3, 1, 3))
    moving = np.array([0.0, 2.0, 5.0])[:, None, None] * [1.0, 0.0, 0.0]
    assert metrics.mpjve_mm([moving], [still]) == pytest.approx(2.5)
    assert metrics.mpjve_mm([moving, still + 1000], [still, still]) == pytest.approx(5 / 4)
    assert metrics.mpjve_mm([moving + 7], [moving]) == 0.0
    assert np.isnan(metrics.mpjve_mm([still[:1]], [still[:1]]))


def test_means_are_those_of_the_frames() -> None:
    predicted, true = random_poses(3)
    for name in ("p_mpjpe", "n_mpjpe"):
        frames = getattr(metrics, f"{name}_per_frame_mm")(predicted, true)
        assert frames.shape == (6,)
        assert getattr(metrics, f"{name}_mm")(predicted, true) == pytest.approx(frames.mean())


def test_float32_input_is_measured_in_float64_and_unchanged() -> None:
    predicted, true = (poses.astype(np.float32) for poses in random_poses(4))
    before = predicted.copy()
    assert metrics.align_mm(predicted, true).dtype == np.float64
    assert (predicted == before).all()


def test_pose_collapsed_to_a_point_has_a_finite_error() -> None:
    _, true = random_poses(5)
    collapsed = np.zeros_like(true)
    spread = np.linalg.norm(true - true.mean(1, keepdims=True), axis=-1).mean()
    assert metrics.p_mpjpe_mm(collapsed, true) == pytest.approx(spread)
    assert np.isfinite(metrics.n_mpjpe_mm(collapsed, true))


@pytest.mark.parametrize(
    ("predicted", "message"),
    [
        (np.zeros((2, 16, 3)), r"must both be \[N, J, 3\], got \(2, 16, 3\) and \(2, 17, 3\)"),
        (np.full((2, 17, 3), np.nan), "Poses must be finite"),
    ],
)
def test_misfit_and_nan_are_refused(predicted: np.ndarray, message: str) -> None:
    with pytest.raises(MetricError, match=message):
        metrics.mpjpe_mm(predicted, np.zeros((2, 17, 3)))
