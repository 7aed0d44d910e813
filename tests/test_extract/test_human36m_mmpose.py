"""mmpose's Human3.6M: sizes, rates, detections of its rows, and files that do not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import FrameStatus
from cache.cameras import world_to_camera
from stages.extract.crops import box_for_row
from stages.extract.datasets import DatasetError, FrameError
from stages.extract.datasets.human36m.mmpose import Human36m
from tests.test_extract.layouts.human36m_mmpose import write_mmpose
from tests.test_extract.layouts.human36m_world import NUM_FRAMES, SCENES

CPN = {"cpn": "joint_2d_det_files/cpn_{split}.npy"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_mmpose(tmp_path, (SCENES[0], SCENES[2], SCENES[3]))
    return tmp_path


def change_npz(path: Path, change: Callable[[dict[str, NDArray[Any]]], object]) -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def test_sizes_are_those_of_the_pictures_and_not_of_the_calibration(root: Path) -> None:
    plan = Human36m(root, fps=50).plan()
    sizes = {
        (camera[-8:], tuple(size))
        for camera, size in zip(plan.index["camera"].words(), plan.image_size.tolist(), strict=True)
    }
    assert sizes == {("54138969", (1002, 1000)), ("55011271", (1000, 1000))}


def test_labels_are_metres_and_cameras_map_to_the_world(root: Path) -> None:
    plan = Human36m(root, fps=50).plan()
    assert plan.joints_3d_mm is not None
    camera = plan.cameras[plan.index["camera"].codes[0]]
    seen = world_to_camera(SCENES[0].world_mm(), camera)
    np.testing.assert_allclose(plan.joints_3d_mm[:NUM_FRAMES], seen, atol=1e-2)


@pytest.mark.parametrize("key", ["part", "S"])
def test_labels_that_are_not_finite_are_not_valid(root: Path, key: str) -> None:
    def lose(arrays: dict[str, NDArray[Any]]) -> None:
        arrays[key][1, 3, 0] = np.nan

    path = root / "annotation_body3d" / "fps50" / "h36m_train.npz"
    change_npz(path, lose)
    lost = Human36m(root, fps=50).plan()
    with np.load(path) as archive:
        row = lost.index["item"].words().index(str(archive["imgname"][1]))
    assert not lost.valid[row, 3]
    assert lost.valid.sum() == lost.valid.size - 1


def test_the_rate_picks_the_annotations(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"fps10/h36m_train\.npz"):
        Human36m(root)
    folder = root / "annotation_body3d"
    (folder / "fps50").rename(folder / "fps10")
    plan = Human36m(root).plan()
    assert {camera.fps for camera in plan.cameras} == {10.0}
    assert len(plan) == 3 * 2 * NUM_FRAMES


def test_detections_follow_their_rows_through_every_choice(root: Path) -> None:
    dataset = Human36m(root, fps=50, detections=CPN, subjects=["S8", "S9"], stride=2)
    points = dataset.imported_keypoints()["cpn"].points
    difference = points[..., :2] - dataset.plan().joints_2d_px
    np.testing.assert_allclose(difference, np.broadcast_to([3, -2], difference.shape), atol=1e-3)
    assert "imported" in dataset.content_identity()


def test_a_joint_that_was_not_found_has_score_0(root: Path) -> None:
    path = root / "joint_2d_det_files" / "cpn_train.npy"
    points = np.load(path)
    points[0, 3] = np.nan
    np.save(path, points)
    found = Human36m(root, fps=50, detections=CPN).imported_keypoints()["cpn"].points
    assert (found[0, 3] == 0).all()
    assert (found[0, 4, 2] == 0.5).all()


def test_detections_of_other_rows_are_refused(root: Path) -> None:
    path = root / "joint_2d_det_files" / "cpn_test.npy"
    np.save(path, np.load(path)[1:])
    with pytest.raises(DatasetError, match=r"cpn_test\.npy must have a row .* of the 8 labels"):
        Human36m(root, fps=50, detections=CPN).plan()
    path.write_bytes(b"no array")
    with pytest.raises(DatasetError, match=r"cpn_test\.npy cannot be read"):
        Human36m(root, fps=50, detections=CPN).plan()


def test_detections_need_a_file_for_each_split(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"one file for the splits train and test; put {split}"):
        Human36m(root, fps=50, detections={"cpn": "joint_2d_det_files/cpn_train.npy"})
    with pytest.raises(DatasetError, match=r"(?s)2 files are missing.*hrnet_train.*hrnet_test"):
        Human36m(root, fps=50, detections={"hrnet": "hrnet_{split}.npy"})


def test_fewer_pictures_than_labels_are_refused(root: Path) -> None:
    def lose_a_name(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["imgname"] = arrays["imgname"][:-1]

    change_npz(root / "annotation_body3d" / "fps50" / "h36m_test.npz", lose_a_name)
    with pytest.raises(DatasetError, match=r"labels and pictures are not as many.*S11_Directions"):
        Human36m(root, fps=50).plan()


def test_sequences_of_another_data_set_have_no_protocol(root: Path) -> None:
    def rename(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["imgname"] = np.char.replace(arrays["imgname"], "SittingDown", "Juggling")

    change_npz(root / "annotation_body3d" / "fps50" / "h36m_test.npz", rename)
    plan = Human36m(root, fps=50, protocol="drop-damaged", s11_directions="drop").plan()
    assert "Juggling" in plan.index["action"].words()


def test_a_camera_that_lacks_is_named(root: Path) -> None:
    def rename(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["imgname"] = np.char.replace(arrays["imgname"], "54138969", "12345678")

    change_npz(root / "annotation_body3d" / "fps50" / "h36m_train.npz", rename)
    with pytest.raises(DatasetError, match=r"lacks the cameras.*12345678"):
        Human36m(root, fps=50).plan()


def test_picture_names_of_another_form_are_refused(root: Path) -> None:
    def rename(arrays: dict[str, NDArray[Any]]) -> None:
        arrays["imgname"] = np.array([f"{i}.jpg" for i in range(len(arrays["imgname"]))])

    change_npz(root / "annotation_body3d" / "fps50" / "h36m_train.npz", rename)
    with pytest.raises(DatasetError, match=r"Picture name '0\.jpg' is not like S1/S1_Walking"):
        Human36m(root, fps=50).plan()


def test_a_box_that_is_no_number_spoils_only_its_row(layout: Path) -> None:
    path = layout / "annotation_body3d" / "fps10" / "h36m_train.npz"
    with np.load(path) as archive:
        table = dict(archive)
    table["scale"][1] = np.nan
    np.savez(path, **table)
    plan = Human36m(layout).plan()
    assert not plan.boxes_px[1].any()
    with pytest.raises(FrameError) as caught:
        box_for_row(plan, 1, "imported")
    assert caught.value.status == FrameStatus.BAD_BOX
    assert box_for_row(plan, 0, "imported").any()
