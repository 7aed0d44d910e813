"""Joint sets: names, parents, left/right pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from cache.errors import SkeletonMismatch


@dataclass(frozen=True)
class Skeleton:
    """An ordered joint set.

    Args:
        name: key in `SKELETONS`.
        joints: names in storage order.
        parents: index of each joint's parent, -1 for the root. Trees of detector joint sets
            (COCO) serve drawing only.
        left: joints of the person's left side.
        right: their counterparts, same order.
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    left: tuple[int, ...]
    right: tuple[int, ...]

    @property
    def num_joints(self) -> int:
        """Number of joints."""
        return len(self.joints)

    @property
    def root(self) -> int:
        """Index of the joint without a parent."""
        return self.parents.index(-1)

    @property
    def swap(self) -> NDArray[np.intp]:
        """Permutation `[J]` that exchanges left and right; it is its own inverse."""
        order = np.arange(self.num_joints, dtype=np.intp)
        order[list(self.left + self.right)] = self.right + self.left
        return order


H36M17 = Skeleton(
    name="H36M17",
    joints=(
        "root", "right_hip", "right_knee", "right_foot", "left_hip", "left_knee", "left_foot",
        "spine", "thorax", "neck_base", "head", "left_shoulder", "left_elbow", "left_wrist",
        "right_shoulder", "right_elbow", "right_wrist",
    ),
    parents=(-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15),
    left=(4, 5, 6, 11, 12, 13),
    right=(1, 2, 3, 14, 15, 16),
)  # fmt: skip

MPI17 = Skeleton(
    name="MPI17",
    joints=(
        "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder",
        "left_elbow", "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip",
        "left_knee", "left_ankle", "root", "spine", "head",
    ),
    parents=(16, 15, 1, 2, 3, 1, 5, 6, 14, 8, 9, 14, 11, 12, -1, 14, 1),
    left=(5, 6, 7, 11, 12, 13),
    right=(2, 3, 4, 8, 9, 10),
)  # fmt: skip

COCO17 = Skeleton(
    name="COCO17",
    joints=(
        "nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder",
        "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hip",
        "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    ),
    parents=(-1, 0, 0, 1, 2, 0, 0, 5, 6, 7, 8, 5, 6, 11, 12, 13, 14),
    left=(1, 3, 5, 7, 9, 11, 13, 15),
    right=(2, 4, 6, 8, 10, 12, 14, 16),
)  # fmt: skip


HALPE26 = Skeleton(
    name="HALPE26",
    joints=(
        *COCO17.joints, "head", "neck", "hip", "left_big_toe", "right_big_toe", "left_small_toe",
        "right_small_toe", "left_heel", "right_heel",
    ),
    parents=(
        17, 0, 0, 1, 2, 18, 18, 5, 6, 7, 8, 19, 19, 11, 12, 13, 14, 18, 19, -1, 15, 16, 15, 16, 15,
        16,
    ),
    left=(*COCO17.left, 20, 22, 24),
    right=(*COCO17.right, 21, 23, 25),
)  # fmt: skip

SMPL24 = Skeleton(
    name="SMPL24",
    joints=(
        "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2",
        "left_ankle", "right_ankle", "spine3", "left_foot", "right_foot", "neck", "left_collar",
        "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
        "left_wrist", "right_wrist", "left_hand", "right_hand",
    ),
    parents=(
        -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21,
    ),
    left=(1, 4, 7, 10, 13, 16, 18, 20, 22),
    right=(2, 5, 8, 11, 14, 17, 19, 21, 23),
)  # fmt: skip


def _wholebody133() -> Skeleton:
    """COCO-WholeBody: 17 body, 6 foot, 68 face (300W order) and twice 21 hand joints."""
    foot = ("big_toe", "small_toe", "heel")
    fingers = ("thumb", "index", "middle", "ring", "little")
    hand = ("hand_root", *(f"{finger}_{i}" for finger in fingers for i in range(1, 5)))
    # A finger's first joint hangs on the hand's root, every other joint on the one before it.
    hand_parents = (-1, *(0 if i % 4 == 1 else i - 1 for i in range(1, 21)))
    # 300W counts the jaw and brows from the person's right to the left.
    face_right = (*range(8), *range(17, 22), 31, 32, *range(36, 42), 48, 49, 50, 58, 59, 60, 61, 67)
    face_left = (
        *range(16, 8, -1), *range(26, 21, -1), 35, 34, 45, 44, 43, 42, 47, 46,
        54, 53, 52, 56, 55, 64, 63, 65,
    )  # fmt: skip
    return Skeleton(
        name="WHOLEBODY133",
        joints=(
            *COCO17.joints,
            *(f"{side}_{part}" for side in ("left", "right") for part in foot),
            *(f"face_{i}" for i in range(68)),
            *(f"{side}_{part}" for side in ("left", "right") for part in hand),
        ),
        parents=(
            *COCO17.parents,
            *(15,) * 3,
            *(16,) * 3,
            *(0,) * 68,
            *(9 if parent < 0 else 91 + parent for parent in hand_parents),
            *(10 if parent < 0 else 112 + parent for parent in hand_parents),
        ),
        left=(*COCO17.left, 17, 18, 19, *(23 + i for i in face_left), *range(91, 112)),
        right=(*COCO17.right, 20, 21, 22, *(23 + i for i in face_right), *range(112, 133)),
    )


WHOLEBODY133 = _wholebody133()

SKELETONS: Mapping[str, Skeleton] = MappingProxyType(
    {skeleton.name: skeleton for skeleton in (H36M17, COCO17, HALPE26, MPI17, SMPL24, WHOLEBODY133)}
)


def get_skeleton(name: str) -> Skeleton:
    """The joint set of that name; raises `SkeletonMismatch` listing the known ones."""
    if name not in SKELETONS:
        raise SkeletonMismatch(
            f"unknown skeleton {name!r}, known are {', '.join(SKELETONS)}; name one of these"
        )
    return SKELETONS[name]
