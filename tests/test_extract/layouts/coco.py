from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.people import Float64, person_mm, pinhole_px, write_picture

SIZE = (120, 160)
FOCAL, CENTRE = (150.0, 150.0), (80.0, 60.0)

# Where Human3.6M's joints serve as COCO's; nose and eyes are put beside the head.
_BODY = {5: 11, 7: 12, 9: 13, 6: 14, 8: 15, 10: 16, 11: 4, 13: 5, 15: 6, 12: 1, 14: 2, 16: 3}


def coco_joints_px(frame: int) -> Float64:
    """Joints [17, 2] in COCO's order of a person that faces the camera."""
    points_mm = person_mm(frame)
    head = points_mm[10]
    joints = np.empty((17, 3))
    for joint, aside, up in ((0, 0, 0), (1, 30, 20), (2, -30, 20), (3, 60, 10), (4, -60, 10)):
        joints[joint] = head + np.array([aside, -up, 0])
    for joint, source in _BODY.items():
        joints[joint] = points_mm[source]
    return pinhole_px(joints, FOCAL, CENTRE)


def annotation(number: int, image: int, **extra: Any) -> dict[str, Any]:
    """One person; joint 4 is hidden, joint 16 is not labelled."""
    points = coco_joints_px(number)
    visibility = np.full(17, 2)
    visibility[4], visibility[16] = 1, 0
    points[16] = 0
    labelled = points[:16]
    low, high = labelled.min(axis=0) - 4, labelled.max(axis=0) + 4
    return {
        "id": 900 + number,
        "image_id": image,
        "category_id": 1,
        "iscrowd": 0,
        "num_keypoints": 16,
        "bbox": [*low.tolist(), *(high - low).tolist()],
        "keypoints": np.column_stack([points, visibility]).reshape(-1).tolist(),
        **extra,
    }


def write_coco(root: Path) -> None:
    """Three pictures in train (one with two persons, one with a crowd), two in validation."""
    unusable = [
        annotation(5, 12, iscrowd=1),
        annotation(6, 12, keypoints=[0] * 51, num_keypoints=0),
    ]
    splits = {
        "train": (
            "train2017",
            (11, 12, 13),
            [*(annotation(n, image) for n, image in enumerate((11, 12, 11, 13))), *unusable],
        ),
        "val": ("val2017", (21, 22), [annotation(3, 21), annotation(4, 22)]),
    }
    for split, (folder, images, persons) in splits.items():
        for image in images:
            write_picture(root / folder / f"{image:012d}.jpg", SIZE, seed=image)
        path = root / "annotations" / f"person_keypoints_{split}2017.json"
        path.parent.mkdir(exist_ok=True)
        content = {
            "images": [
                {"id": i, "file_name": f"{i:012d}.jpg", "height": SIZE[0], "width": SIZE[1]}
                for i in images
            ],
            "annotations": persons,
            "categories": [{"id": 1, "name": "person"}],
        }
        path.write_text(json.dumps(content))


CASES = (
    LayoutCase(
        "coco",
        write_coco,
        annotations=(
            "annotations/person_keypoints_train2017.json",
            "annotations/person_keypoints_val2017.json",
        ),
        picture="train2017/000000000011.jpg",
        tolerance_px=None,
    ),
)
