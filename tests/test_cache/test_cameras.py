from __future__ import annotations

import cv2
import numpy as np
import pytest

from cache import Camera, PlanError, project, world_to_camera

K = np.array([[1145.0, 0, 512.5], [0, 1144, 515.4], [0, 0, 1]])
DISTORTION = (-0.2, 0.24, -0.0009, -0.0014, -0.002)
POINTS_MM = np.random.default_rng(0).uniform([-900, -900, 3000], [900, 900, 6000], (20, 3))


def camera(model: str) -> Camera:
    rotation = cv2.Rodrigues(np.array([0.3, -0.2, 0.9]))[0]
    return Camera("c", K, rotation, np.array([10.0, 20, 30]), DISTORTION, model)  # type: ignore[arg-type]


def test_opencv_model_equals_opencv() -> None:
    expected, _ = cv2.projectPoints(POINTS_MM, np.zeros(3), np.zeros(3), K, np.array(DISTORTION))
    np.testing.assert_allclose(project(POINTS_MM, camera("opencv")), expected[:, 0], atol=1e-6)


def test_human36m_model_follows_its_published_formula() -> None:
    k0, k1, p0, p1, k2 = DISTORTION
    x, y = (POINTS_MM[:, :2] / POINTS_MM[:, 2:]).T
    r2 = x * x + y * y
    bend = 1 + k0 * r2 + k1 * r2**2 + k2 * r2**3 + p0 * y + p1 * x
    expected = np.stack(
        [1145 * (x * bend + p1 * r2) + 512.5, 1144 * (y * bend + p0 * r2) + 515.4], axis=-1
    )
    np.testing.assert_allclose(project(POINTS_MM, camera("human36m")), expected, atol=1e-9)


def test_models_differ_where_the_tangential_terms_do() -> None:
    gap = np.abs(project(POINTS_MM, camera("human36m")) - project(POINTS_MM, camera("opencv")))
    assert 0.01 < gap.max() < 1


def test_no_model_is_a_pinhole_and_points_behind_are_nan() -> None:
    points = np.array([[0, 0, 1000.0], [1, 1, 0], [5, 5, -3]])
    pixels = project(points, camera("none"))
    np.testing.assert_allclose(pixels[0], [512.5, 515.4])
    assert np.isnan(pixels[1:]).all()


def test_world_to_camera_is_rotation_then_translation() -> None:
    view = camera("none")
    np.testing.assert_allclose(
        world_to_camera(POINTS_MM, view), (view.R @ POINTS_MM.T).T + view.t_mm
    )


def test_wrong_cameras_are_refused() -> None:
    with pytest.raises(PlanError, match=r"camera 'c': K must be \(3, 3\)"):
        Camera("c", np.eye(2), np.eye(3), np.zeros(3))
    with pytest.raises(PlanError, match="distortion is"):
        Camera("c", K, np.eye(3), np.zeros(3), (0.1, 0.2))
    with pytest.raises(PlanError, match="unknown distortion model 'fisheye'"):
        Camera("c", K, np.eye(3), np.zeros(3), DISTORTION, "fisheye")  # type: ignore[arg-type]
