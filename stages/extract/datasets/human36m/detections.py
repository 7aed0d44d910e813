"""2D detections of Human3.6M in VideoPose3D's files, `data_2d_h36m_<name>.npz`.

`positions_2d` holds {subject: {sequence: [one `[N, J, 2]` px array per camera]}}. `metadata` names
the joints' symmetry, which tells COCO's order from Human3.6M's: the detections that were not
fine-tuned (`detectron_pt_coco`) have as many joints, in another order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.skeletons import COCO17, H36M17
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.names import CAMERA_IDS, Take, plain_name, takes_by_name
from stages.extract.datasets.pickles import load_object_npz


@dataclass(frozen=True, eq=False)
class Detections:
    """What one file holds."""

    path: Path
    skeleton: str
    points_px: Mapping[Take, list[NDArray[np.float32]]]
    """Per sequence, one `[N, J, 2 or 3]` array (x, y, perhaps a score) per camera."""

    def of(self, take: Take, camera: int) -> NDArray[np.float32]:
        """Return `[N, J, 3]` x, y px and score, 1 where the file has none.

        Raises:
            DatasetError: the sequence is not in the file.
        """
        if take not in self.points_px:
            raise DatasetError(
                f"{self.path} lacks {take.subject}, action {take.action}, subaction "
                f"{take.subaction}, which has 3D labels. Leave the sequence out, or the file: "
                "set dataset.options.detections to the names that you need."
            )
        points = np.asarray(self.points_px[take][camera], dtype=np.float32)
        if points.shape[-1] == 2:
            points = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1)
        points = points.copy()
        points[~np.isfinite(points).all(axis=-1)] = 0
        return points


def load_detections(path: Path) -> Detections:
    """Return the detections of a file.

    Raises:
        DatasetError: the file does not fit, or has joints of an unknown order.
    """
    content = load_object_npz(path)
    try:
        symmetry = content["metadata"]["keypoints_symmetry"]
        sides = tuple(tuple(int(joint) for joint in side) for side in symmetry)
        positions = content["positions_2d"]
    except (KeyError, TypeError, IndexError) as error:
        raise DatasetError(f"{path} is not one of VideoPose3D's 2D files: {error!r}.") from error
    skeletons = {(s.left, s.right): s.name for s in (H36M17, COCO17)}
    if sides not in skeletons:
        raise DatasetError(
            f"{path} has joints of an unknown order (left and right: {sides}); only Human3.6M's "
            "17 and COCO's 17 are read. Leave it out with dataset.options.detections."
        )
    return _check_shapes(Detections(path, skeletons[sides], by_take(positions, path)))


def by_take(positions: Mapping[str, Mapping[str, Any]], path: Path) -> dict[Take, Any]:
    """Return what a file holds per subject and sequence name, by the metadata's numbers.

    Raises:
        DatasetError: a sequence is called what none of that subject is.
    """
    takes = takes_by_name()
    known: dict[Take, Any] = {}
    for subject, sequences in positions.items():
        for name, value in sequences.items():
            take = takes.get((subject, plain_name(name)))
            if take is None:
                raise DatasetError(
                    f"{path}: {subject} has no sequence {name!r} in Human3.6M's metadata."
                )
            known[take] = value
    return known


def _check_shapes(detections: Detections) -> Detections:
    for take, arrays in detections.points_px.items():
        shapes = [np.shape(points) for points in arrays]
        if len(shapes) != len(CAMERA_IDS) or any(len(s) != 3 or s[1] != 17 for s in shapes):
            raise DatasetError(
                f"{detections.path}: {take.subject} action {take.action} must have "
                f"{len(CAMERA_IDS)} arrays (N, 17, 2), it has shapes {shapes}."
            )
    return detections
