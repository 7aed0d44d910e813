from __future__ import annotations

import numpy as np
import pytest

from cache import SKELETONS, SkeletonMismatch, convert_keypoints, get_skeleton
from cache.skeletons import COCO17, H36M17, MPI17, Skeleton


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_skeleton_is_one_tree_with_paired_sides(skeleton: Skeleton) -> None:
    assert len(skeleton.parents) == skeleton.num_joints == len(set(skeleton.joints))
    for joint in range(skeleton.num_joints):
        seen = set()
        while joint != skeleton.root:
            assert joint not in seen
            seen.add(joint)
            joint = skeleton.parents[joint]
    assert len(skeleton.left) == len(skeleton.right)
    np.testing.assert_array_equal(skeleton.swap[skeleton.swap], np.arange(skeleton.num_joints))
    for left, right in zip(skeleton.left, skeleton.right, strict=True):
        assert skeleton.swap[left] == right
        if not skeleton.joints[left].startswith("face"):
            assert skeleton.joints[left].replace("left", "right") == skeleton.joints[right]


@pytest.mark.parametrize("skeleton", SKELETONS.values(), ids=SKELETONS)
def test_swapping_sides_keeps_the_tree(skeleton: Skeleton) -> None:
    swap = skeleton.swap
    for joint, parent in enumerate(skeleton.parents):
        if parent >= 0:
            assert skeleton.parents[swap[joint]] == swap[parent]


def test_roots_are_those_of_the_data_sets() -> None:
    assert (H36M17.root, MPI17.root) == (0, 14)


def test_wholebody_mirrors_the_face_about_its_middle() -> None:
    swap = get_skeleton("WHOLEBODY133").swap
    middle = [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    assert [i for i in range(68) if swap[23 + i] == 23 + i] == middle
    assert swap[23] == 23 + 16
    assert swap[91] == 112


def test_mpi_converts_by_index() -> None:
    points = np.arange(17)[:, None] * np.ones(3)
    converted = convert_keypoints(points, "MPI17", "H36M17")
    named = {"root": 14, "head": 0, "neck_base": 16, "left_wrist": 7, "right_foot": 10}
    for name, source in named.items():
        assert converted[H36M17.joints.index(name), 0] == source


def test_coco_converts_by_means_of_joints_and_scores() -> None:
    points = np.random.default_rng(0).random((4, 17, 3)).astype(np.float32)
    converted = convert_keypoints(points, COCO17, H36M17)
    hips, shoulders = points[:, [11, 12]].mean(axis=1), points[:, [5, 6]].mean(axis=1)
    assert converted.dtype == np.float32
    for joint, expected in (
        (0, hips),
        (7, (hips + shoulders) / 2),
        (8, shoulders),
        (9, points[:, 0]),
        (10, points[:, [1, 2]].mean(axis=1)),
        (3, points[:, 16]),
        (13, points[:, 9]),
    ):
        np.testing.assert_allclose(converted[:, joint], expected, rtol=1e-6)


def test_coco_conversion_commutes_with_mirroring() -> None:
    points = np.random.default_rng(1).random((17, 2))
    np.testing.assert_allclose(
        convert_keypoints(points[COCO17.swap], COCO17, H36M17),
        convert_keypoints(points, COCO17, H36M17)[H36M17.swap],
    )


def test_conversion_to_itself_is_a_copy() -> None:
    points = np.ones((17, 2))
    converted = convert_keypoints(points, "H36M17", "H36M17")
    converted[:] = 0
    assert points.all()


def test_unknown_pairs_names_and_sizes_are_refused() -> None:
    points = np.zeros((17, 2))
    with pytest.raises(SkeletonMismatch, match="no conversion from H36M17 to COCO17"):
        convert_keypoints(points, "H36M17", "COCO17")
    with pytest.raises(SkeletonMismatch, match="unknown skeleton 'SMPL25', known are H36M17"):
        get_skeleton("SMPL25")
    with pytest.raises(SkeletonMismatch, match=r"WHOLEBODY133 has 133 joints, .*\(17, 2\)"):
        convert_keypoints(points, "WHOLEBODY133", "H36M17")
