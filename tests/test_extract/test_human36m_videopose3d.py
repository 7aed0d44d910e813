"""VideoPose3D's files: world metres, detections in two joint orders, and names of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import FrameStatus
from stages.extract.datasets import DatasetError, FrameError
from stages.extract.datasets.human36m.metadata import read_metadata
from stages.extract.datasets.human36m.videopose3d import Human36mVideoPose3D
from stages.extract.datasets.pickles import load_object_npz
from tests.test_extract.layouts.human36m_videopose3d import (
    H36M_SYMMETRY,
    write_detections,
    write_videopose3d,
)
from tests.test_extract.layouts.human36m_world import NUM_FRAMES, SCENES, VIDEO_FRAMES, of_32

SCENE = SCENES[1]  # "TakingPhoto 1", which is "Photo 1" here


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_videopose3d(tmp_path, (SCENE,))
    return tmp_path


def rewrite_labels(root: Path, positions: Any) -> None:
    np.savez_compressed(root / "data_3d_h36m.npz", positions_3d=positions)


def test_labels_are_seen_by_all_four_cameras(root: Path) -> None:
    plan = Human36mVideoPose3D(root).plan()
    assert len(plan) == 4 * NUM_FRAMES
    assert plan.joints_3d_mm is not None
    for camera in range(4):
        rows = slice(camera * NUM_FRAMES, (camera + 1) * NUM_FRAMES)
        np.testing.assert_allclose(plan.joints_2d_px[rows], SCENE.px(camera), atol=1e-3)
        np.testing.assert_allclose(plan.joints_3d_mm[rows], SCENE.camera_mm(camera), atol=1e-2)


def test_detections_go_on_with_the_video_and_are_cut(root: Path) -> None:
    raw = load_object_npz(root / "data_2d_h36m_cpn_ft_h36m_dbb.npz")["positions_2d"]
    assert [len(points) for points in raw["S1"]["Photo 1"]] == list(VIDEO_FRAMES)
    points = Human36mVideoPose3D(root).imported_keypoints()["cpn_ft_h36m_dbb"].points
    assert len(points) == 4 * NUM_FRAMES
    assert points[..., :2].max() < 5000  # what is after the labels is at 5555


def test_fewer_detections_than_labels_end_the_clip(root: Path) -> None:
    world = np.concatenate([SCENE.world_mm()] * 2)  # 8 frames; detections of camera 1 have 6
    rewrite_labels(root, {"S1": {"Photo 1": of_32(world) / 1000}})
    for path in root.glob("data_2d_*.npz"):
        content = load_object_npz(path)
        for points in content["positions_2d"]["S1"]["Photo 1"]:
            points[NUM_FRAMES:] = points[: len(points) - NUM_FRAMES]
        np.savez(path, **content)
    lengths = np.bincount(Human36mVideoPose3D(root).plan().index["clip"].codes)
    assert lengths.tolist() == [6, 8, 7, 8]


def test_the_joint_order_of_detections_is_told_by_their_symmetry(root: Path) -> None:
    imported = Human36mVideoPose3D(root).imported_keypoints()
    assert {name: keypoints.skeleton for name, keypoints in imported.items()} == {
        "cpn_ft_h36m_dbb": "H36M17",
        "detectron_pt_coco": "COCO17",
    }
    chosen = Human36mVideoPose3D(root, detections=["detectron_pt_coco"])
    assert set(chosen.imported_keypoints()) == {"detectron_pt_coco"}
    assert not Human36mVideoPose3D(root, detections=[]).imported_keypoints()


def test_a_calibration_that_puts_people_elsewhere_is_told_by_the_detections(root: Path) -> None:
    path = root / "metadata.xml"
    numbers = read_metadata(path).camera_numbers
    moved = numbers.copy()
    moved[:264].reshape(-1, 6)[:, 3:] += 1500  # mm
    text = path.read_text()
    start, end = text.index("<w0>") + 4, text.index("</w0>")
    path.write_text(text[:start] + " ".join(map(str, moved)) + text[end:])
    with pytest.raises(DatasetError, match="2D detections 'cpn_ft_h36m_dbb': its keypoints lie"):
        Human36mVideoPose3D(root).plan()


def test_detections_of_an_unknown_order_are_refused(root: Path) -> None:
    write_detections(root, "sh_pt_mpii", [[13, 14, 15, 3, 4, 5], [12, 11, 10, 2, 1, 0]], (SCENE,))
    with pytest.raises(DatasetError, match=r"sh_pt_mpii\.npz has joints of an unknown order"):
        Human36mVideoPose3D(root).plan()
    Human36mVideoPose3D(root, detections=["cpn_ft_h36m_dbb"]).plan()


def test_a_sequence_without_detections_is_named(root: Path) -> None:
    write_detections(root, "cpn_ft_h36m_dbb", H36M_SYMMETRY, SCENES[:1])
    with pytest.raises(DatasetError, match="lacks S1, action 12, subaction 1"):
        Human36mVideoPose3D(root).plan()


def test_detections_of_three_cameras_are_refused(root: Path) -> None:
    path = root / "data_2d_h36m_cpn_ft_h36m_dbb.npz"
    content = load_object_npz(path)
    content["positions_2d"]["S1"]["Photo 1"].pop()
    np.savez_compressed(path, **content)
    with pytest.raises(DatasetError, match=r"must have 4 arrays \(N, 17, 2\)"):
        Human36mVideoPose3D(root).plan()


def test_videos_are_found_under_their_own_names(root: Path) -> None:
    dataset = Human36mVideoPose3D(root)
    assert dataset.load_image(0).shape == (50, 64, 3)
    for path in (root / "S1" / "Videos").iterdir():
        path.rename(path.with_name(path.name.replace("TakingPhoto", "Photo")))
    assert Human36mVideoPose3D(root).load_image(0).shape == (50, 64, 3)


def test_labels_are_there_without_videos(root: Path) -> None:
    for path in (root / "S1" / "Videos").iterdir():
        path.unlink()
    dataset = Human36mVideoPose3D(root)
    assert dataset.plan().valid.all()
    assert not dataset.plan().image_size.any()
    with pytest.raises(FrameError) as caught:
        dataset.load_image(0)
    assert caught.value.status == FrameStatus.MISSING


def test_the_calibration_is_asked_for(root: Path) -> None:
    (root / "metadata.xml").unlink()
    with pytest.raises(DatasetError, match=r"(?s)metadata\.xml.*camera_data\.pkl or cameras\.pkl"):
        Human36mVideoPose3D(root)


def test_detections_that_are_asked_for_and_lack_are_named_with_the_rest(root: Path) -> None:
    (root / "data_3d_h36m.npz").unlink()
    with pytest.raises(DatasetError, match=r"(?s)data_3d_h36m\.npz.*data_2d_h36m_hrnet\.npz"):
        Human36mVideoPose3D(root, detections=["hrnet"])


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ({"S1": {"Juggling 1": np.zeros((4, 32, 3))}}, "no sequence 'Juggling 1'"),
        ({"S1": {"Photo 1": np.zeros((4, 17, 3))}}, r"shape \(N, 32, 3\), it has \(4, 17, 3\)"),
        ([1, 2], "no `positions_3d`"),
    ],
)
def test_labels_of_another_form_are_refused(root: Path, positions: Any, message: str) -> None:
    rewrite_labels(root, positions)
    with pytest.raises(DatasetError, match=message):
        Human36mVideoPose3D(root).plan()


def test_object_arrays_are_read_without_running_what_they_name(root: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("run",)

    rewrite_labels(root, {"S1": Evil()})
    with pytest.raises(DatasetError, match=r"builtins\.print; only numpy arrays"):
        Human36mVideoPose3D(root).plan()


def test_npz_files_keep_plain_arrays_and_single_objects(tmp_path: Path) -> None:
    path = tmp_path / "file.npz"
    np.savez(path, plain=np.arange(3), single={"a": [1]}, cells=np.array([{"b": 2}, None]))
    content = load_object_npz(path)
    assert content["plain"].tolist() == [0, 1, 2]
    assert content["single"] == {"a": [1]}
    assert content["cells"].tolist() == [{"b": 2}, None]
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DatasetError, match="cannot be read"):
        load_object_npz(path)
    with pytest.raises(DatasetError, match="does not exist"):
        load_object_npz(tmp_path / "none.npz")
