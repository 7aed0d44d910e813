"""Every conversion by value: expectations are written by joint names, not by the code's tables."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import SKELETONS, SkeletonMismatch, conversion_note, convert_keypoints, get_skeleton
from cache.skeletons import Skeleton

LIMBS = ("knee", "elbow", "wrist")
COCO_TO_H36M = {
    "root": "left_hip right_hip",
    "spine": "left_hip right_hip left_shoulder right_shoulder",
    "thorax": "left_shoulder right_shoulder",
    "neck_base": "nose",
    "head": "left_eye right_eye",
    **{f"{side}_{joint}": f"{side}_{joint}" for side in ("left", "right") for joint in LIMBS},
    **{f"{side}_{joint}": f"{side}_{joint}" for side in ("left", "right") for joint in ("hip",)},
    **{f"{side}_shoulder": f"{side}_shoulder" for side in ("left", "right")},
    **{f"{side}_foot": f"{side}_ankle" for side in ("left", "right")},
}
SIDES = {name: value for name, value in COCO_TO_H36M.items() if name.startswith(("left", "right"))}
TABLES: Mapping[tuple[str, str], Mapping[str, str]] = {
    ("COCO17", "H36M17"): COCO_TO_H36M,
    ("WHOLEBODY133", "H36M17"): COCO_TO_H36M,
    ("HALPE26", "H36M17"): {
        **SIDES,
        "root": "hip",
        "spine": "neck hip",
        "thorax": "neck",
        "neck_base": "nose",
        "head": "head",
    },
    ("MPI17", "H36M17"): {
        **SIDES,
        "root": "root",
        "spine": "spine",
        "thorax": "neck",
        "neck_base": "head",
        "head": "head_top",
    },
    ("SMPL24", "H36M17"): {
        **SIDES,
        "root": "pelvis",
        "spine": "spine2",
        "thorax": "neck",
        "neck_base": "head",
        "head": "head",
    },
    ("HALPE26", "COCO17"): {name: name for name in get_skeleton("COCO17").joints},
    ("WHOLEBODY133", "COCO17"): {name: name for name in get_skeleton("COCO17").joints},
}
INDICES: Mapping[tuple[str, str], tuple[object, ...]] = {
    # The public lists, as numbers; a tuple is a mean.
    ("COCO17", "H36M17"): (
        (11, 12), 12, 14, 16, 11, 13, 15, (5, 6, 11, 12), (5, 6), 0, (1, 2), 5, 7, 9, 6, 8, 10,
    ),
    ("HALPE26", "H36M17"): (
        19, 12, 14, 16, 11, 13, 15, (18, 19), 18, 0, 17, 5, 7, 9, 6, 8, 10,
    ),
    ("MPI17", "H36M17"): (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4),
    ("SMPL24", "H36M17"): (0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 15, 16, 18, 20, 17, 19, 21),
}  # fmt: skip
ORDERS = {
    # Joints at positions that the data sets' own documents give.
    "H36M17": {0: "root", 3: "right_foot", 4: "left_hip", 8: "thorax", 10: "head",
               16: "right_wrist"},
    "MPI17": {0: "head_top", 2: "right_shoulder", 7: "left_wrist", 14: "root", 16: "head"},
    "COCO17": {0: "nose", 1: "left_eye", 6: "right_shoulder", 9: "left_wrist", 16: "right_ankle"},
    "HALPE26": {16: "right_ankle", 17: "head", 18: "neck", 19: "hip", 20: "left_big_toe",
                21: "right_big_toe", 22: "left_small_toe", 25: "right_heel"},
    "SMPL24": {0: "pelvis", 1: "left_hip", 3: "spine1", 6: "spine2", 8: "right_ankle", 9: "spine3",
               12: "neck", 13: "left_collar", 15: "head", 18: "left_elbow", 21: "right_wrist",
               23: "right_hand"},
    "WHOLEBODY133": {17: "left_big_toe", 19: "left_heel", 20: "right_big_toe", 23: "face_0",
                     91: "left_hand_root", 112: "right_hand_root"},
}  # fmt: skip


def drawn(skeleton: Skeleton) -> NDArray[np.float64]:
    return np.random.default_rng(len(skeleton.name)).random((5, skeleton.num_joints, 3))


def expected(
    points: NDArray[np.float64], source: Skeleton, target: Skeleton, table: Mapping[str, str]
) -> NDArray[np.float64]:
    rows = []
    for joint in target.joints:
        parts = [source.joints.index(name) for name in table[joint].split()]
        rows.append(sum(points[:, part] for part in parts) / len(parts))
    return np.stack(rows, axis=1)


@pytest.mark.parametrize(("pair", "table"), TABLES.items(), ids=["-".join(pair) for pair in TABLES])
def test_conversions_take_the_named_joints(pair: tuple[str, str], table: Mapping[str, str]) -> None:
    source, target = map(get_skeleton, pair)
    points = drawn(source)
    found = convert_keypoints(points, source, target)
    np.testing.assert_allclose(found, expected(points, source, target, table), atol=1e-12)
    # One joint taken from the other side must be seen.
    wrong = {**table, "left_wrist": table["right_wrist"]}
    assert not np.allclose(found, expected(points, source, target, wrong))


@pytest.mark.parametrize(("pair", "rows"), INDICES.items(), ids=["-".join(p) for p in INDICES])
def test_conversions_are_the_public_lists_of_indices(
    pair: tuple[str, str], rows: tuple[object, ...]
) -> None:
    points = drawn(get_skeleton(pair[0]))
    found = convert_keypoints(points, *pair)
    for joint, given in enumerate(rows):
        parts = [given] if isinstance(given, int) else list(given)  # type: ignore[call-overload]
        np.testing.assert_allclose(found[:, joint], points[:, parts].mean(axis=1), atol=1e-12)


@pytest.mark.parametrize(("name", "joints"), ORDERS.items(), ids=ORDERS)
def test_joints_are_in_the_order_of_their_data_sets(name: str, joints: Mapping[int, str]) -> None:
    skeleton = get_skeleton(name)
    assert {position: skeleton.joints[position] for position in joints} == joints


def test_every_pair_is_either_tested_by_value_or_refused() -> None:
    for source in SKELETONS.values():
        for target in SKELETONS.values():
            points = drawn(source)
            if source == target:
                np.testing.assert_array_equal(convert_keypoints(points, source, target), points)
                assert conversion_note(source, target) is None
            elif (source.name, target.name) not in TABLES:
                for ask in (
                    lambda a=source, b=target, p=points: convert_keypoints(p, a, b),
                    lambda a=source, b=target: conversion_note(a, b),
                ):
                    with pytest.raises(
                        SkeletonMismatch, match=f"no conversion from {source.name} to {target.name}"
                    ):
                        ask()


def test_a_skeleton_that_only_bears_a_known_name_is_refused() -> None:
    coco = get_skeleton("COCO17")
    other = Skeleton("COCO17", coco.joints[::-1], coco.parents, coco.left, coco.right)
    with pytest.raises(SkeletonMismatch, match="no conversion from COCO17 to H36M17"):
        convert_keypoints(np.zeros((17, 2)), other, "H36M17")


@pytest.mark.parametrize("pair", TABLES, ids=["-".join(pair) for pair in TABLES])
def test_conversions_commute_with_mirroring(pair: tuple[str, str]) -> None:
    source, target = map(get_skeleton, pair)
    points = drawn(source)
    np.testing.assert_allclose(
        convert_keypoints(points[:, source.swap], source, target),
        convert_keypoints(points, source, target)[:, target.swap],
    )


def test_approximations_say_so_and_exact_subsets_do_not() -> None:
    exact = {("HALPE26", "COCO17"), ("WHOLEBODY133", "COCO17")}
    for pair in TABLES:
        assert (conversion_note(*pair) is None) == (pair in exact), pair
    note = conversion_note("COCO17", "H36M17")
    assert note is not None
    for word in ("COCO17 as H36M17", "spine, thorax and head", "11 to 79 mm"):
        assert word in note


def test_the_hips_of_a_person_are_not_approximated() -> None:
    # Human3.6M's root is the middle of its hips, so COCO's rule gives it exactly.
    h36m = np.random.default_rng(3).random((17, 3))
    h36m[0] = (h36m[1] + h36m[4]) / 2
    coco = np.zeros((17, 3))
    for coco_name, h36m_name in {"left_hip": "left_hip", "right_hip": "right_hip"}.items():
        coco[get_skeleton("COCO17").joints.index(coco_name)] = h36m[
            get_skeleton("H36M17").joints.index(h36m_name)
        ]
    np.testing.assert_allclose(convert_keypoints(coco, "COCO17", "H36M17")[0], h36m[0])
