"""mmpose's layout of Human3.6M: a drawn one, and the invented sequences of the other layouts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.human36m_world import (
    CAMERA_IDS,
    HEIGHTS,
    NUM_FRAMES,
    SCENES,
    Scene,
    jpeg,
    mmpose_cameras,
)
from tests.test_extract.studio import write_layout

DETECTED_OFFSET_PX = np.array([3.0, -2.0])


def rows(scene: Scene, camera: int) -> dict[str, list[Any]]:
    """Columns of the annotations, and of the detections of their rows."""
    clip = f"{scene.folder}_{scene.base_name.replace(' ', '_')}.{CAMERA_IDS[camera]}"
    points_px, joints_mm = scene.px(camera), scene.camera_mm(camera)
    ones = np.ones((NUM_FRAMES, 17, 1))
    low, high = points_px.min(axis=1), points_px.max(axis=1)
    return {
        "imgname": [f"{scene.folder}/{clip}/{clip}_{i + 1:06d}.jpg" for i in range(NUM_FRAMES)],
        "center": [*((low + high) / 2)],
        "scale": [*((high - low).max(axis=1) * 1.2 / 200)],
        "part": [*np.concatenate([points_px, ones], axis=-1)],
        "S": [*np.concatenate([joints_mm / 1000, ones], axis=-1)],
        "detected": [*np.concatenate([points_px + DETECTED_OFFSET_PX, 0.5 * ones], axis=-1)],
    }


def write_mmpose(
    root: Path,
    scenes: tuple[Scene, ...] = SCENES,
    *,
    cameras: tuple[int, ...] = (0, 1),
    fps: int = 50,
) -> None:
    """Write pictures, annotations of both splits, cameras.pkl and detections."""
    splits: dict[str, dict[str, list[Any]]] = {}
    for scene in scenes:
        split = splits.setdefault("test" if scene.subject in (9, 11) else "train", {})
        for camera in cameras:
            for key, values in rows(scene, camera).items():
                split.setdefault(key, []).extend(values)
                for name in values if key == "imgname" else ():
                    path = root / "images" / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(jpeg(HEIGHTS[camera]))
    folder = root / "annotation_body3d" / f"fps{fps}"
    detections = root / "joint_2d_det_files"
    for path in (folder, detections):
        path.mkdir(parents=True)
    for name, columns in splits.items():
        np.save(detections / f"cpn_{name}.npy", np.array(columns.pop("detected")))
        arrays = {key: np.array(values) for key, values in columns.items()}
        np.savez(folder / f"h36m_{name}.npz", **arrays)
    cameras_file = root / "annotation_body3d" / "cameras.pkl"
    cameras_file.write_bytes(pickle.dumps(mmpose_cameras(), protocol=2))


CASES = (
    LayoutCase(
        "human36m",
        write_layout,
        annotations=(
            "annotation_body3d/cameras.pkl",
            "annotation_body3d/fps10/h36m_train.npz",
        ),
        picture="images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg",
    ),
    LayoutCase(
        "human36m",
        lambda root: write_mmpose(root, SCENES[1:4]),
        annotations=(
            "annotation_body3d/fps50/h36m_train.npz",
            "joint_2d_det_files/cpn_train.npy",
            "joint_2d_det_files/cpn_test.npy",
        ),
        picture="images/S1/S1_TakingPhoto_1.54138969/S1_TakingPhoto_1.54138969_000001.jpg",
        options={"fps": 50, "detections": {"cpn": "joint_2d_det_files/cpn_{split}.npy"}},
        label="fps50",
    ),
)
