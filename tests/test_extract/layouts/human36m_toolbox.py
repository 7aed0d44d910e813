"""The H36M-Toolbox's label files as CA-PF's script writes them, and as the toolbox's own does."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.human36m_world import (
    HEIGHTS,
    NUM_FRAMES,
    SCENES,
    WIDTH,
    Scene,
    extrinsics,
    intrinsics,
    jpeg,
    toolbox_cameras,
)
from tests.test_extract.layouts.people import Float64

CPN_OFFSET_PX = np.array([3.0, -2.0])


def normalised(points_px: Float64, height: int) -> Float64:
    """x to -1 .. 1, y by the same scale."""
    return points_px / WIDTH * 2 - [1, height / WIDTH]


def true_box(joints_mm: Float64, camera: int) -> Float64:
    """Left, top, right, bottom of 2 m around the root, undistorted."""
    f, c, _, _ = intrinsics(camera)
    corners = joints_mm[0] + np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])
    return (corners[:, :2] / corners[:, 2:] * f + c).ravel()


def entries(scene: Scene, camera: int) -> list[dict[str, Any]]:
    """One dictionary per frame, as CA-PF's script has them."""
    f, c, k, p = (values[:, None] for values in intrinsics(camera))
    rotation, centre = extrinsics(scene.subject, camera)
    calibration = {
        "R": rotation, "T": centre[:, None],
        "fx": f[0], "fy": f[1], "cx": c[0], "cy": c[1], "k": k, "p": p,
    }  # fmt: skip
    clip = (
        f"s_{scene.subject:02d}_act_{scene.action:02d}"
        f"_subact_{scene.subaction:02d}_ca_{camera + 1:02d}"
    )
    found = []
    for frame in range(NUM_FRAMES):
        joints_mm, points_px = scene.camera_mm(camera)[frame], scene.px(camera)[frame]
        box = true_box(joints_mm, camera)
        found.append(
            {
                "image": f"{clip}/{clip}_{frame + 1:06d}.jpg",
                "joints_2d_gt": normalised(points_px, HEIGHTS[camera]),
                "joints_2d_cpn": normalised(points_px + CPN_OFFSET_PX, HEIGHTS[camera]),
                "joints_3d": joints_mm / 1000,
                "joints_vis": np.ones((17, 3)),
                "video_id": 0,
                "image_id": frame + 1,
                "subject": scene.subject,
                "action": scene.action,
                "subaction": scene.subaction,
                "camera_id": camera,
                "source": "h36m",
                "camera": calibration,
                "nposes": NUM_FRAMES,
                "center": (0.5 * (box[0] + box[2]), 0.5 * (box[1] + box[3])),
                "scale": ((box[2] - box[0]) / 200, (box[3] - box[1]) / 200),
                "box": box,
            }
        )
    return found


def in_own_units(entry: dict[str, Any], scene: Scene, camera: int) -> dict[str, Any]:
    """The same frame as the toolbox's own script writes it: mm, px, and a universal skeleton."""
    frame = entry["image_id"] - 1
    kept = {key: value for key, value in entry.items() if not key.startswith("joints_2d")}
    return {
        **kept,
        "joints_2d": scene.px(camera)[frame],
        "joints_3d": scene.camera_mm(camera)[frame] * 0.9,
        "joints_3d_camera": scene.camera_mm(camera)[frame],
    }


def write_toolbox(
    root: Path,
    scenes: tuple[Scene, ...] = SCENES[:5],
    *,
    cameras: tuple[int, ...] = (0, 1),
    own_units: bool = False,
) -> None:
    """Write pictures, both label files and camera_data.pkl."""
    splits: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}
    for scene in scenes:
        for camera in cameras:
            found = entries(scene, camera)
            for entry in found:
                path = root / "images" / entry["image"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(jpeg(HEIGHTS[camera]))
            if own_units:
                found = [in_own_units(entry, scene, camera) for entry in found]
            splits["validation" if scene.subject in (9, 11) else "train"] += found
    for split, labels in splits.items():
        (root / f"h36m_{split}.pkl").write_bytes(pickle.dumps(labels, protocol=2))
    (root / "camera_data.pkl").write_bytes(pickle.dumps(toolbox_cameras(), protocol=2))


def write_own_units(root: Path) -> None:
    """The toolbox's own labels."""
    write_toolbox(root, SCENES[1:4], cameras=(2,), own_units=True)


FIRST = "s_01_act_04_subact_01_ca_01/s_01_act_04_subact_01_ca_01_000001.jpg"

CASES = (
    LayoutCase(
        "human36m-toolbox",
        write_toolbox,
        annotations=("h36m_train.pkl", "h36m_validation.pkl"),
        picture=f"images/{FIRST}",
    ),
    LayoutCase(
        "human36m-toolbox",
        write_own_units,
        annotations=("h36m_train.pkl", "h36m_validation.pkl"),
        picture="images/s_01_act_12_subact_01_ca_03/s_01_act_12_subact_01_ca_03_000001.jpg",
        label="own-units",
    ),
)
