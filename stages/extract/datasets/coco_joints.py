"""Joints of one COCO-style annotation, for each joint set that such files hold.

Each reader returns `[J, 3]` x, y px and v: 0 not labelled, 1 labelled but hidden, 2 visible. Joints
that are not labelled are (0, 0, 0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError

Annotation = Mapping[str, Any]

_WHOLEBODY_PARTS = (("foot", 6), ("face", 68), ("lefthand", 21), ("righthand", 21))


def coco17(annotation: Annotation) -> NDArray[np.float64]:
    """Read `keypoints` of 17 joints."""
    return _labelled(_triples(annotation, "keypoints", 17))


def halpe26(annotation: Annotation) -> NDArray[np.float64]:
    """Read the first 26 of Halpe's 26 or 136 `keypoints`."""
    num_joints = len(annotation["keypoints"]) // 3
    if num_joints not in (26, 136):
        raise DatasetError(
            f"Annotation {annotation.get('id')} has {num_joints} joints; Halpe's have 26 or 136. "
            "Set the option skeleton to that of the file."
        )
    return _labelled(_triples(annotation, "keypoints", num_joints)[:26])


def wholebody133(annotation: Annotation) -> NDArray[np.float64]:
    """Read COCO-WholeBody's body, feet, face and hands.

    A part without its `<part>_valid` flag is not labelled. For face and hands the third number is
    a confidence: labelled joints count as visible.
    """
    parts = [_triples(annotation, "keypoints", 17)]
    for part, num_joints in _WHOLEBODY_PARTS:
        points = _triples(annotation, f"{part}_kpts", num_joints)
        if not annotation.get(f"{part}_valid", False):
            points[:] = 0
        if part != "foot":
            points[:, 2] = np.where(points[:, 2] > 0, 2, 0)
        parts.append(points)
    return _labelled(np.concatenate(parts))


JOINT_READERS: Mapping[str, Callable[[Annotation], NDArray[np.float64]]] = MappingProxyType(
    {"COCO17": coco17, "HALPE26": halpe26, "WHOLEBODY133": wholebody133}
)


def _triples(annotation: Annotation, key: str, num_joints: int) -> NDArray[np.float64]:
    numbers = annotation.get(key, ())
    if len(numbers) != 3 * num_joints:
        raise DatasetError(
            f"Annotation {annotation.get('id')} has {len(numbers)} numbers in {key!r} instead of "
            f"{3 * num_joints}. Set the option skeleton to that of the file."
        )
    return np.array(numbers, dtype=np.float64).reshape(num_joints, 3)


def _labelled(points: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(points[:, 2:] > 0, points, 0.0)
