"""Conversions between joint sets: exact ones, approximations that say so, and no others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.errors import SkeletonMismatch
from cache.skeletons import SKELETONS, Skeleton, get_skeleton


@dataclass(frozen=True, eq=False)
class _Conversion:
    """Target joints as weighted means of source joints.

    Args:
        matrix: `[J_target, J_source]`; each row sums to 1.
        note: in which joints the result is not what the target's labels mean; None if exact.
    """

    matrix: NDArray[np.float64]
    note: str | None


def _means(num_source: int, rows: Sequence[int | tuple[int, ...]], note: str | None) -> _Conversion:
    """One entry per target joint: a source joint, or several whose mean is taken."""
    matrix = np.zeros((len(rows), num_source))
    for target, sources in enumerate(rows):
        chosen = (sources,) if isinstance(sources, int) else sources
        matrix[target, list(chosen)] = 1 / len(chosen)
    return _Conversion(matrix, note)


# mmpose and MotionBERT agree. Offsets measured on real Human3.6M and MPI-INF-3DHP poses; the hip
# mid-point is exact.
_COCO_TO_H36M = (
    (11, 12), 12, 14, 16, 11, 13, 15, (5, 6, 11, 12), (5, 6), 0, (1, 2), 5, 7, 9, 6, 8, 10,
)  # fmt: skip
_COCO_NOTE = (
    "spine, thorax and head are means of shoulders, hips and eyes, 11 to 79 mm from where "
    "Human3.6M has them, and its neck joint is the nose"
)
# As MotionBERT reads Halpe: root, neck and head have joints of their own.
_HALPE_TO_H36M = (
    19, 12, 14, 16, 11, 13, 15, (18, 19), 18, 0, 17, 5, 7, 9, 6, 8, 10,
)  # fmt: skip
_HALPE_NOTE = (
    "the spine is the middle of hip and neck, the thorax is Halpe's neck, the neck joint is the "
    "nose and the head is the top of the head, none of which is where Human3.6M has it"
)
_MPI_TO_H36M = (14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4)
_MPI_NOTE = (
    "joints are taken by name, but MPI-INF-3DHP's head top is 178 to 199 mm above its head, "
    "Human3.6M's head 115 mm above its neck joint"
)
_SMPL_TO_H36M = (0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 15, 16, 18, 20, 17, 19, 21)
_SMPL_NOTE = (
    "joints are taken by name (neck joint and head are both SMPL's head); SMPL's joints are not "
    "Human3.6M's, and a fair comparison regresses these from the mesh"
)

_CONVERSIONS: Mapping[tuple[str, str], _Conversion] = MappingProxyType(
    {
        ("COCO17", "H36M17"): _means(17, _COCO_TO_H36M, _COCO_NOTE),
        ("WHOLEBODY133", "H36M17"): _means(133, _COCO_TO_H36M, _COCO_NOTE),
        ("WHOLEBODY133", "COCO17"): _means(133, range(17), None),
        ("HALPE26", "H36M17"): _means(26, _HALPE_TO_H36M, _HALPE_NOTE),
        ("HALPE26", "COCO17"): _means(26, range(17), None),
        ("MPI17", "H36M17"): _means(17, _MPI_TO_H36M, _MPI_NOTE),
        ("SMPL24", "H36M17"): _means(24, _SMPL_TO_H36M, _SMPL_NOTE),
    }
)


def convert_keypoints(
    points: ArrayLike, source: str | Skeleton, target: str | Skeleton
) -> NDArray[Any]:
    """Points `[..., J, D]` of the target joint set; every column, scores too, is averaged alike.

    The dtype is kept. Whether the result is an approximation says `conversion_note`. Raises
    `SkeletonMismatch` where no conversion is defined or J is not the source's number of joints.
    """
    from_skeleton, to_skeleton = _resolve(source), _resolve(target)
    values = np.asarray(points)
    if values.shape[-2] != from_skeleton.num_joints:
        raise SkeletonMismatch(
            f"{from_skeleton.name} has {from_skeleton.num_joints} joints, "
            f"got points of shape {values.shape}"
        )
    if from_skeleton == to_skeleton:
        return values.copy()
    converted: NDArray[Any] = (_find(from_skeleton, to_skeleton).matrix @ values).astype(
        values.dtype
    )
    return converted


def conversion_note(source: str | Skeleton, target: str | Skeleton) -> str | None:
    """In which joints the conversion only approximates the target's; None if it is exact.

    Raises `SkeletonMismatch` where no conversion is defined.
    """
    from_skeleton, to_skeleton = _resolve(source), _resolve(target)
    if from_skeleton == to_skeleton:
        return None
    note = _find(from_skeleton, to_skeleton).note
    return None if note is None else f"{from_skeleton.name} as {to_skeleton.name}: {note}"


def _resolve(skeleton: str | Skeleton) -> Skeleton:
    return skeleton if isinstance(skeleton, Skeleton) else get_skeleton(skeleton)


def _find(source: Skeleton, target: Skeleton) -> _Conversion:
    found = _CONVERSIONS.get((source.name, target.name))
    known_sets = source == SKELETONS.get(source.name) and target == SKELETONS.get(target.name)
    if found is None or not known_sets:
        known = ", ".join(f"{a} -> {b}" for a, b in _CONVERSIONS)
        raise SkeletonMismatch(
            f"no conversion from {source.name} to {target.name} is defined "
            f"(defined: {known}); use a detector or labels of the wanted joint set"
        )
    return found
