"""Poses in front of a known camera, against OpenCV's projection."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from cache import get_skeleton
from pipeline.predict.config import PredictConfig
from pipeline.predict.placing import place_poses
from stages.lift.config import RefinementConfig

SKELETON = get_skeleton("H36M17")
INTRINSICS = (610.0, 595.0, 330.0, 236.0)
DISTORTION = (-0.12, 0.05, 0.002, -0.001, 0.01)


def seen_people(distortion: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    joints = rng.normal(scale=300.0, size=(6, SKELETON.num_joints, 3))
    joints -= joints[:, SKELETON.root, None]
    roots = rng.uniform((-800, -400, 3000), (800, 400, 6000), size=(6, 3))
    fx, fy, cx, cy = INTRINSICS
    K = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1.0]])
    points, zero = (joints + roots[:, None]).reshape(-1, 3), np.zeros(3)
    pixels, _ = cv2.projectPoints(points, zero, zero, K, np.array(distortion))
    scores = np.ones((6, SKELETON.num_joints, 1))
    return joints, roots, np.concatenate([pixels.reshape(6, -1, 2), scores], axis=-1)


@pytest.mark.parametrize("distortion", [(0.0,) * 5, DISTORTION])
@pytest.mark.parametrize("refine", [False, True])
def test_a_true_pose_is_placed_where_it_was_seen(
    distortion: tuple[float, float, float, float, float], refine: bool
) -> None:
    joints, roots, keypoints = seen_people(distortion)
    config = PredictConfig(intrinsics=INTRINSICS, distortion=distortion, refine=refine)
    placed = place_poses(joints, keypoints, SKELETON, config)
    assert placed is not None
    np.testing.assert_allclose(placed.root_mm, roots, atol=1.0)
    np.testing.assert_allclose(placed.joints_3d_mm, joints, atol=1.0)


def test_the_terms_of_the_refinement_are_those_of_the_settings() -> None:
    joints, _, keypoints = seen_people((0.0,) * 5)
    keypoints[..., :2] += np.random.default_rng(1).normal(scale=4.0, size=keypoints[..., :2].shape)
    config = PredictConfig(intrinsics=INTRINSICS, refine=True)
    moved = []
    for prior_sigma_mm in (1e-3, 40.0):
        placed = place_poses(
            *(joints, keypoints, SKELETON, config),
            refinement=RefinementConfig(prior_sigma_mm=prior_sigma_mm),
        )
        assert placed is not None
        moved.append(float(np.abs(placed.joints_3d_mm - joints).max()))
    assert moved[0] < 0.01
    assert moved[1] > 1.0


def test_another_focal_length_is_another_place() -> None:
    joints, roots, keypoints = seen_people((0.0,) * 5)
    fx, fy, cx, cy = INTRINSICS
    wrong = PredictConfig(intrinsics=(fx * 1.1, fy * 1.1, cx, cy))
    placed = place_poses(joints, keypoints, SKELETON, wrong)
    assert placed is not None
    assert np.abs(placed.root_mm - roots)[:, 2].min() > 100.0


def test_an_unknown_camera_places_nothing() -> None:
    joints, _, keypoints = seen_people((0.0,) * 5)
    assert place_poses(joints, keypoints, SKELETON, PredictConfig()) is None
