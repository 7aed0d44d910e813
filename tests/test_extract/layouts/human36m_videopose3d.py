"""VideoPose3D's npz files, a calibration, and videos in the raw layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.human36m_world import (
    CAMERA_IDS,
    SCENES,
    VIDEO_FRAMES,
    Scene,
    metadata_xml,
    of_32,
    video_size,
    write_video,
)
from tests.test_extract.layouts.people import Float64

H36M_SYMMETRY = [[4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]]
COCO_SYMMETRY = [[1, 3, 5, 7, 9, 11, 13, 15], [2, 4, 6, 8, 10, 12, 14, 16]]
H36M_OF_COCO = [10, 10, 10, 10, 10, 11, 14, 12, 15, 13, 16, 4, 1, 5, 2, 6, 3]
CPN_OFFSET_PX = np.array([3.0, -2.0])


def canonical(base_name: str) -> str:
    """Names are the same for all subjects here."""
    return base_name.replace("TakingPhoto", "Photo").replace("WalkingDog", "WalkDog")


def detected(scene: Scene, camera: int) -> Float64:
    """Points [F', 17, 2], as long as the video; what has no label is far away."""
    points = np.full((VIDEO_FRAMES[camera], 17, 2), 5555.0)
    labelled = scene.px(camera) + CPN_OFFSET_PX
    points[: len(labelled)] = labelled
    return points


def write_detections(
    root: Path, name: str, symmetry: list[list[int]], scenes: tuple[Scene, ...] = SCENES
) -> None:
    """Write data_2d_h36m_<name>.npz."""
    joints = H36M_OF_COCO if symmetry == COCO_SYMMETRY else list(range(17))
    positions: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        positions.setdefault(scene.folder, {})[canonical(scene.base_name)] = [
            detected(scene, camera).astype(np.float32)[:, joints] for camera in range(4)
        ]
    metadata = {"layout_name": "any", "num_joints": 17, "keypoints_symmetry": symmetry}
    np.savez_compressed(
        root / f"data_2d_h36m_{name}.npz", positions_2d=positions, metadata=metadata
    )


def write_videopose3d(root: Path, scenes: tuple[Scene, ...] = SCENES) -> None:
    """Write labels, two files of detections, metadata.xml and videos of two cameras."""
    positions: dict[str, dict[str, Any]] = {}
    for scene in scenes:
        world_m = of_32(scene.world_mm()) / 1000
        positions.setdefault(scene.folder, {})[canonical(scene.base_name)] = world_m.astype(
            np.float32
        )
        for camera in (0, 1):
            write_video(
                root / scene.folder / "Videos" / f"{scene.base_name}.{CAMERA_IDS[camera]}.mp4",
                VIDEO_FRAMES[camera],
                video_size(camera),
            )
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions)
    write_detections(root, "cpn_ft_h36m_dbb", H36M_SYMMETRY, scenes)
    write_detections(root, "detectron_pt_coco", COCO_SYMMETRY, scenes)
    (root / "metadata.xml").write_text(metadata_xml())


def write_some(root: Path) -> None:
    """One sequence of a subject of each split; the contract wants a picture of the last row."""
    scenes = (SCENES[0], SCENES[2], SCENES[4])
    write_videopose3d(root, scenes)
    last = scenes[-1]
    video = root / last.folder / "Videos" / f"{last.base_name}.{CAMERA_IDS[3]}.mp4"
    write_video(video, VIDEO_FRAMES[3], video_size(3))


CASES = (
    LayoutCase(
        "human36m-videopose3d",
        write_some,
        annotations=("data_3d_h36m.npz", "metadata.xml"),
        picture="S1/Videos/Eating 2.54138969.mp4",
    ),
)
