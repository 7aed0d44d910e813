from __future__ import annotations

import numpy as np
import pytest

from cache import project as project_of_store
from stages.lift.errors import LiftError
from stages.lift.intrinsics import Intrinsics, flat_points, project, project_with_jacobian
from stages.lift.roots import estimate_root_mm
from tests.test_lift.cameras_by_hand import camera, people, picture

MODELS = ("human36m", "opencv")


def intrinsics(model: str, num_frames: int) -> Intrinsics:
    return Intrinsics.of_cameras([camera(model)], np.zeros(num_frames, dtype=np.int32))


@pytest.mark.parametrize("model", MODELS)
def test_points_are_seen_where_the_store_and_another_formula_see_them(model: str) -> None:
    joints, roots = people(6)
    points = joints + roots[:, None]
    found = project(points, intrinsics(model, 6))
    np.testing.assert_allclose(found, picture(points, camera(model)), atol=1e-8)
    np.testing.assert_allclose(found, project_of_store(points, camera(model)), atol=1e-9)


def test_the_two_distortions_are_told_apart() -> None:
    joints, roots = people(6)
    points = joints + roots[:, None]
    off = project(points, intrinsics("opencv", 6)) - picture(points, camera("human36m"))
    assert np.abs(off).max() > 0.02


@pytest.mark.parametrize("model", MODELS)
def test_derivatives_are_those_of_finite_differences(model: str) -> None:
    joints, roots = people(3)
    points, lens = joints + roots[:, None], intrinsics(model, 3)
    _, jacobian = project_with_jacobian(points, lens)
    for axis in range(3):
        step = np.zeros(3)
        step[axis] = 0.01
        expected = (project(points + step, lens) - project(points - step, lens)) / 0.02
        np.testing.assert_allclose(jacobian[..., axis], expected, atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_what_a_lens_bends_is_made_straight_again(model: str) -> None:
    joints, roots = people(4)
    points = joints + roots[:, None]
    flat = flat_points(picture(points, camera(model)), intrinsics(model, 4))
    np.testing.assert_allclose(flat, points[..., :2] / points[..., 2:], atol=1e-10)


@pytest.mark.parametrize("model", MODELS)
def test_without_noise_the_root_is_found_to_a_hundredth_of_a_millimetre(model: str) -> None:
    joints, roots = people(40)
    seen = picture(joints + roots[:, None], camera(model))
    found = estimate_root_mm(joints, seen, intrinsics(model, 40))
    assert found.converged.all()
    np.testing.assert_allclose(found.root_mm, roots, atol=0.01)
    assert found.residual_px.max() < 1e-4


def test_a_few_joints_far_off_are_outvoted() -> None:
    joints, roots = people(40)
    seen = picture(joints + roots[:, None], camera())
    seen[:, 3] += 300.0
    seen[:, 13] -= 200.0
    found = estimate_root_mm(joints, seen, intrinsics("human36m", 40))
    assert np.nanmedian(np.linalg.norm(found.root_mm - roots, axis=-1)) < 25.0
    trusted = np.ones(seen.shape[:2])
    trusted[:, [3, 13]] = 0.0
    found = estimate_root_mm(joints, seen, intrinsics("human36m", 40), weights=trusted)
    np.testing.assert_allclose(found.root_mm, roots, atol=0.01)


def test_a_wrong_focal_length_shows_in_the_depth() -> None:
    joints, roots = people(20)
    seen = picture(joints + roots[:, None], camera())
    wrong = Intrinsics.of_cameras([camera(focal_px=1.1 * 1145)], np.zeros(20, dtype=np.int32))
    found = estimate_root_mm(joints, seen, wrong)
    ratio = found.root_mm[:, 2] / roots[:, 2]
    assert np.median(ratio) == pytest.approx(1.1, abs=0.02)


def test_swapped_axes_show_in_the_residual() -> None:
    joints, roots = people(20)
    seen = picture(joints + roots[:, None], camera())
    lens = intrinsics("human36m", 20)
    right = estimate_root_mm(joints, seen, lens).residual_px
    wrong = estimate_root_mm(joints, seen[..., ::-1], lens)
    assert right.max() < 1e-3
    residual = wrong.residual_px[wrong.converged]
    assert not residual.size or residual.min() > 10.0


def test_poses_that_cannot_be_placed_say_so() -> None:
    joints, roots = people(5)
    seen = picture(joints + roots[:, None], camera())
    weights = np.ones(seen.shape[:2])
    weights[0, 2:] = 0.0  # two joints are not enough
    seen[1] = np.nan
    seen[2, 4] = np.nan  # one joint less is
    joints[3] *= -1  # seen the wrong way round: no place in front of the camera fits well
    found = estimate_root_mm(joints, seen, intrinsics("human36m", 5), weights=weights)
    assert found.converged.tolist()[:3] == [False, False, True]
    assert np.isnan(found.root_mm[:2]).all()
    np.testing.assert_allclose(found.root_mm[[2, 4]], roots[[2, 4]], atol=0.01)
    assert not found.converged[3] or found.residual_px[3] > 10.0


def test_a_pinhole_is_a_camera_without_distortion() -> None:
    lens = Intrinsics.pinhole(1000.0, (320.0, 240.0), num_frames=1)
    found = project(np.array([[[100.0, -50.0, 2000.0]]]), lens)
    np.testing.assert_allclose(found, [[[370.0, 215.0]]])


def test_a_store_without_cameras_is_refused() -> None:
    with pytest.raises(LiftError, match=r"no calibrated cameras.*evaluate\.refine=none"):
        Intrinsics.of_cameras([], np.zeros(3, dtype=np.int32))
