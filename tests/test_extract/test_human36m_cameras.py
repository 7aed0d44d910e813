"""Three files with one calibration: units, and which way the rotation turns."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import Camera, project
from cache.cameras import world_to_camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.cameras import find_camera_file, load_cameras
from tests.test_extract.layouts.human36m_world import (
    CAMERA_IDS,
    SCENES,
    extrinsics,
    metadata_xml,
    mmpose_cameras,
    toolbox_cameras,
)

FILES = ("metadata.xml", "camera_data.pkl", "cameras.pkl")


def write(folder: Path, name: str) -> Path:
    path = folder / name
    if name == "metadata.xml":
        path.write_text(metadata_xml())
    else:
        cameras = toolbox_cameras() if name == "camera_data.pkl" else mmpose_cameras()
        path.write_bytes(pickle.dumps(cameras, protocol=2))
    return path


def worst_px(camera: Camera, position: int) -> float:
    """Largest error of a projected point, infinite if one is behind the camera."""
    scene = SCENES[3]
    projected = project(world_to_camera(scene.world_mm(), camera), camera)
    return float(np.nan_to_num(np.abs(projected - scene.px(position)), nan=np.inf).max())


@pytest.mark.parametrize("name", FILES)
def test_world_points_land_where_the_formulas_put_them(name: str, tmp_path: Path) -> None:
    cameras = load_cameras(write(tmp_path, name))
    for position, camera_id in enumerate(CAMERA_IDS):
        camera = cameras["S9", camera_id]
        assert worst_px(camera, position) < 1e-6
        assert camera.name == f"S9.{camera_id}"
        assert camera.fps == 50


@pytest.mark.parametrize("name", FILES)
def test_the_check_notices_every_wrong_convention(name: str, tmp_path: Path) -> None:
    camera = load_cameras(write(tmp_path, name))["S9", CAMERA_IDS[2]]
    _, centre = extrinsics(9, 2)
    k1, k2, p1, p2, k3 = camera.distortion
    wrong = {
        "rotation the other way": replace(camera, R=camera.R.T, t_mm=-camera.R.T @ centre),
        "centre as translation": replace(camera, t_mm=centre),
        "metres": replace(camera, t_mm=camera.t_mm / 1000),
        "OpenCV's tangential factor": replace(camera, distortion_model="opencv"),
        "tangential terms swapped": replace(camera, distortion=(k1, k2, p2, p1, k3)),
        "no distortion": replace(camera, distortion_model="none"),
    }
    missed = [name for name, planted in wrong.items() if worst_px(planted, 2) <= 1e-3]
    assert not missed


def test_cameras_of_one_file_are_not_those_of_another_position(tmp_path: Path) -> None:
    cameras = load_cameras(write(tmp_path, "camera_data.pkl"))
    assert worst_px(cameras["S9", CAMERA_IDS[1]], 0) > 1


def test_the_first_calibration_there_is_used(tmp_path: Path) -> None:
    assert find_camera_file(tmp_path).name == "metadata.xml"  # listed as missing
    write(tmp_path, "cameras.pkl")
    assert find_camera_file(tmp_path).name == "cameras.pkl"
    write(tmp_path, "camera_data.pkl")
    assert find_camera_file(tmp_path).name == "camera_data.pkl"
    assert find_camera_file(tmp_path, "cameras.pkl").name == "cameras.pkl"


@pytest.mark.parametrize("content", [{}, {("S1", "1"): {"R": np.eye(3)}}, {(1, 1): (1, 2)}, [1]])
def test_pickles_of_something_else_are_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "cameras.pkl"
    path.write_bytes(pickle.dumps(content))
    with pytest.raises(DatasetError, match="holds cameras neither"):
        load_cameras(path)
