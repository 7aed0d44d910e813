from __future__ import annotations

import numpy as np
import pytest

from stages.lift.config import RefinementConfig
from stages.lift.intrinsics import Intrinsics
from stages.lift.refinement import Refined, Terms, bone_lengths_mm, median_lengths_mm, refine
from tests.test_lift.cameras_by_hand import H36M17, Floats, camera, keypoints, people

PARENTS = H36M17.parents
SHARP = RefinementConfig(keypoint_sigma=0.01)  # the keypoints here are better than a detector's


def lens(num_frames: int, **options: float) -> Intrinsics:
    return Intrinsics.of_cameras([camera(**options)], np.zeros(num_frames, dtype=np.int32))  # type: ignore[arg-type]


def error_mm(joints: Floats, true: Floats) -> float:
    return float(np.linalg.norm(joints - true, axis=-1).mean())


def predicted(joints: Floats, *, sigma_mm: float | Floats = 40.0, seed: int = 3) -> Floats:
    noise = np.random.default_rng(seed).normal(size=joints.shape)
    noise[:, 0] = 0.0
    return joints + noise * sigma_mm


def test_a_right_prediction_stays_and_is_placed() -> None:
    joints, roots = people(20)
    found = refine(joints, keypoints(joints + roots[:, None], camera()), lens(20), parents=PARENTS)
    assert found.converged.all()
    np.testing.assert_allclose(found.joints_mm, joints, atol=0.01)
    np.testing.assert_allclose(found.root_mm, roots, atol=0.02)
    assert found.residual_px.max() < 1e-3


@pytest.mark.parametrize("is_root_known", [False, True])
def test_a_noisy_prediction_comes_nearer_to_the_truth(is_root_known: bool) -> None:
    joints, roots = people(30)
    before = predicted(joints)
    found = refine(
        before,
        keypoints(joints + roots[:, None], camera(), noise_px=2.0),
        lens(30),
        parents=PARENTS,
        lengths_mm=bone_lengths_mm(joints, PARENTS),
        root_mm=roots if is_root_known else None,
        config=SHARP,
    )
    assert found.converged.mean() > 0.95
    assert error_mm(found.joints_mm, joints) < 0.8 * error_mm(before, joints)
    assert found.residual_px.mean() < 0.5 * found.residual_before_px.mean()
    if is_root_known:
        assert (found.root_mm == roots).all()


@pytest.mark.parametrize("fault", ["focal", "axes"])
def test_a_planted_fault_is_not_refined_away(fault: str) -> None:
    joints, roots = people(40)
    before, seen = predicted(joints), keypoints(joints + roots[:, None], camera())
    lengths = bone_lengths_mm(joints, PARENTS)
    options = {"parents": PARENTS, "lengths_mm": lengths, "root_mm": roots, "config": SHARP}
    right = refine(before, seen, lens(40), **options)  # type: ignore[arg-type]
    wrong_lens = lens(40, focal_px=1.25 * 1145) if fault == "focal" else lens(40)
    wrong_seen = seen[..., [1, 0, 2]] if fault == "axes" else seen
    wrong = refine(before, wrong_seen, wrong_lens, **options)  # type: ignore[arg-type]
    assert error_mm(right.joints_mm, joints) < error_mm(before, joints)
    assert error_mm(wrong.joints_mm, joints) > error_mm(before, joints)


def test_bones_are_as_long_as_they_are_said_to_be() -> None:
    joints, roots = people(30)
    lengths = bone_lengths_mm(joints, PARENTS)
    before = predicted(joints)
    config = RefinementConfig(bone_sigma_mm=0.5)
    seen = keypoints(joints + roots[:, None], camera(), noise_px=2.0)
    found = refine(before, seen, lens(30), parents=PARENTS, lengths_mm=lengths, config=config)
    off = np.abs(bone_lengths_mm(found.joints_mm, PARENTS) - lengths)
    assert np.abs(bone_lengths_mm(before, PARENTS) - lengths).mean() > 20.0
    assert off.mean() < 0.5


def test_joints_that_are_sure_stay_and_those_that_are_not_move() -> None:
    joints, roots = people(30)
    scale = np.full(joints.shape[:2], 4.0)
    scale[:, [3, 6, 13, 16]] = 60.0
    before = predicted(joints, sigma_mm=2.0 * scale[..., None])
    seen = keypoints(joints + roots[:, None], camera(), noise_px=2.0)
    lengths = bone_lengths_mm(joints, PARENTS)
    options = {"parents": PARENTS, "lengths_mm": lengths, "config": SHARP}
    told = refine(before, seen, lens(30), scale_mm=scale, **options)  # type: ignore[arg-type]
    untold = refine(before, seen, lens(30), **options)  # type: ignore[arg-type]
    assert error_mm(told.joints_mm, joints) < 0.9 * error_mm(untold.joints_mm, joints)


def test_a_keypoint_of_score_zero_counts_for_nothing() -> None:
    joints, roots = people(10)
    seen = keypoints(joints + roots[:, None], camera())
    found = []
    for far_px in (100.0, 900.0):
        moved = seen.copy()
        moved[:, 13] = [far_px, far_px, 0.0]
        found.append(refine(predicted(joints), moved, lens(10), parents=PARENTS).joints_mm)
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize("free_root", [False, True])
def test_the_gradient_is_that_of_finite_differences(free_root: bool) -> None:
    joints, roots = people(2)
    terms = Terms(
        predicted_mm=predicted(joints),
        keypoints_px=keypoints(joints + roots[:, None], camera(), noise_px=8.0)[..., :2],
        scores=np.random.default_rng(0).uniform(0.2, 1.0, size=joints.shape[:2]),
        intrinsics=lens(2),
        parents=PARENTS,
        lengths_mm=bone_lengths_mm(joints, PARENTS),
        prior_sigma_mm=np.full(joints.shape[:2], 30.0),
        root_mm=roots,
        config=RefinementConfig(),
    )
    both = np.arange(2)
    start = terms.start(free_root=free_root) + 5.0
    expansion = terms.expand(start, both)
    numeric, step = np.empty_like(start), 1e-3
    for unknown in range(start.shape[1]):
        moved = np.zeros(start.shape[1])
        moved[unknown] = step
        up, down = (terms.expand(start + sign * moved, both).cost for sign in (1, -1))
        numeric[:, unknown] = (up - down) / (2 * step)
    np.testing.assert_allclose(2 * expansion.gradient, numeric, rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(
        expansion.hessian, expansion.hessian.transpose(0, 2, 1), rtol=1e-12, atol=1e-15
    )
    assert np.linalg.eigvalsh(expansion.hessian).min() > -1e-9


def test_frames_do_not_depend_on_each_other_and_inputs_stay() -> None:
    joints, roots = people(6)
    before, seen = predicted(joints), keypoints(joints + roots[:, None], camera(), noise_px=2.0)
    copies = before.copy(), seen.copy()

    def run(frames: slice) -> Refined:
        return refine(before[frames], seen[frames], lens(6)[frames], parents=PARENTS)

    together, alone = run(slice(None)), run(slice(3, 4))
    np.testing.assert_allclose(alone.joints_mm[0], together.joints_mm[3], atol=1e-6)
    np.testing.assert_array_equal(run(slice(None)).joints_mm, together.joints_mm)
    np.testing.assert_array_equal(before, copies[0])
    np.testing.assert_array_equal(seen, copies[1])


def test_a_pose_without_keypoints_stays_as_it_was_predicted() -> None:
    joints, roots = people(4)
    before, seen = predicted(joints), keypoints(joints + roots[:, None], camera())
    seen[1] = np.nan
    seen[2, :, 2] = 0.0
    found = refine(before, seen, lens(4), parents=PARENTS)
    assert found.converged.tolist() == [True, False, False, True]
    np.testing.assert_array_equal(found.joints_mm[1:3], before[1:3])
    assert np.isnan(found.root_mm[1:3]).all()
    assert np.isnan(found.residual_px[1:3]).all()


def test_poses_stay_where_none_of_them_can_be_placed() -> None:
    joints, roots = people(3)
    seen = keypoints(joints + roots[:, None], camera())
    seen[..., 2] = 0.0
    found = refine(joints, seen, lens(3), parents=PARENTS)
    assert np.isnan(found.root_mm).all()
    assert not found.converged.any()
    np.testing.assert_array_equal(found.joints_mm, joints)


def test_lengths_are_medians_of_their_clip() -> None:
    joints = np.zeros((5, 2, 3))
    joints[:, 1, 0] = [10.0, 30.0, 20.0, 7.0, 9.0]
    found = median_lengths_mm(joints, np.array([0, 0, 0, 1, 1]), (-1, 0))
    np.testing.assert_array_equal(found, [[0.0, 20.0]] * 3 + [[0.0, 8.0]] * 2)
