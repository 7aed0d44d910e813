"""The H36M-Toolbox's labels: normalised points, metres, and cameras counted from 0 and from 1."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.extract.datasets import DatasetError
from stages.extract.datasets.human36m.toolbox import Human36mToolbox, to_px
from tests.test_extract.layouts.human36m_toolbox import (
    entries,
    normalised,
    true_box,
    write_own_units,
    write_toolbox,
)
from tests.test_extract.layouts.human36m_world import HEIGHTS, NUM_FRAMES, SCENES, jpeg

SCENE = SCENES[0]
CLIP = "images/s_01_act_04_subact_01_ca_01"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_toolbox(tmp_path, (SCENE,))
    return tmp_path


def change_labels(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = root / "h36m_train.pkl"
    labels = pickle.loads(path.read_bytes())
    for entry in labels:
        change(entry)
    path.write_bytes(pickle.dumps(labels, protocol=2))


def test_points_are_read_with_the_pictures_own_rows(root: Path) -> None:
    plan = Human36mToolbox(root).plan()
    assert plan.image_size[[0, NUM_FRAMES], 0].tolist() == [1002, 1000]
    expected = np.concatenate([SCENE.px(0), SCENE.px(1)])
    np.testing.assert_allclose(plan.joints_2d_px, expected, atol=1e-3)


def test_the_wrong_number_of_rows_would_be_a_pixel_off() -> None:
    points = SCENE.px(0)
    sizes = np.tile(np.array([HEIGHTS[0], 1000], dtype=np.int32), (NUM_FRAMES, 1))
    np.testing.assert_allclose(to_px(normalised(points, 1002), sizes), points)
    assert np.abs(to_px(normalised(points, 1000), sizes) - points).min() < 1e-9  # x is right
    assert np.abs(to_px(normalised(points, 1000), sizes) - points).max() == pytest.approx(1.0)


def test_a_picture_of_other_rows_than_the_camera_says_is_believed(root: Path) -> None:
    for path in (root / CLIP.replace("ca_01", "ca_02")).iterdir():
        path.write_bytes(jpeg(1002))  # camera 55011271, whose calibration says 1000

    def renormalise(entry: dict[str, Any]) -> None:
        if entry["camera_id"] == 1:
            entry["joints_2d_gt"] = normalised(SCENE.px(1)[entry["image_id"] - 1], 1002)

    change_labels(root, renormalise)
    plan = Human36mToolbox(root).plan()
    np.testing.assert_allclose(plan.joints_2d_px[NUM_FRAMES:], SCENE.px(1), atol=1e-3)


def test_a_missing_picture_has_the_rows_of_its_clip(root: Path) -> None:
    next((root / CLIP).iterdir()).unlink()
    plan = Human36mToolbox(root).plan()
    assert (plan.image_size[:NUM_FRAMES, 0] == 0).sum() == 1
    assert plan.valid.all()
    np.testing.assert_allclose(plan.joints_2d_px[:NUM_FRAMES], SCENE.px(0), atol=1e-3)


def test_labels_of_a_clip_without_any_picture_are_not_valid(root: Path) -> None:
    for path in (root / CLIP).iterdir():
        path.unlink()
    dataset = Human36mToolbox(root)
    assert not dataset.plan().valid[:NUM_FRAMES].any()
    assert dataset.plan().valid[NUM_FRAMES:].all()
    assert not dataset.imported_keypoints()["cpn"].points[:NUM_FRAMES, :, 2].any()


def test_camera_ids_count_from_0_and_file_names_from_1(root: Path) -> None:
    plan = Human36mToolbox(root).plan()
    for camera, clip in zip(plan.index["camera"].words(), plan.index["clip"].words(), strict=True):
        assert (camera, clip[-2:]) in {("S1.54138969", "01"), ("S1.55011271", "02")}


def test_boxes_are_those_of_the_labels(root: Path) -> None:
    boxes = Human36mToolbox(root).plan().boxes_px
    assert boxes is not None
    np.testing.assert_allclose(boxes[0], true_box(SCENE.camera_mm(0)[0], 0), atol=1e-3)
    width_mm = (boxes[0, 2] - boxes[0, 0]) / 1145.0 * SCENE.camera_mm(0)[0, 0, 2]
    assert width_mm == pytest.approx(2000, abs=2)


def test_the_toolboxs_own_labels_have_px_and_a_universal_skeleton_beside(tmp_path: Path) -> None:
    write_own_units(tmp_path)
    dataset = Human36mToolbox(tmp_path, subjects=["S1"])
    plan = dataset.plan()
    assert plan.joints_3d_mm is not None
    np.testing.assert_allclose(plan.joints_3d_mm, SCENES[1].camera_mm(2), atol=1e-2)
    assert dataset.imported_keypoints() == {}


@pytest.mark.parametrize("key", ["image_id", "camera_id"])
def test_cpn_in_some_labels_only_is_refused(key: str, root: Path) -> None:
    change_labels(root, lambda entry: entry[key] == 1 and entry.pop("joints_2d_cpn"))
    with pytest.raises(DatasetError, match="some labels have `joints_2d_cpn` and others"):
        Human36mToolbox(root).plan()


@pytest.mark.parametrize("key", ["subject", "action", "camera_id"])
def test_a_clip_of_several_cameras_or_sequences_is_refused(key: str, root: Path) -> None:
    path = root / "h36m_train.pkl"
    labels = pickle.loads(path.read_bytes())
    labels[0][key] = {"subject": 5, "action": 3, "camera_id": 3}[key]
    path.write_bytes(pickle.dumps(labels, protocol=2))
    with pytest.raises(DatasetError, match="of several sequences or cameras"):
        Human36mToolbox(root).plan()


def test_labels_of_another_form_are_refused(root: Path) -> None:
    change_labels(root, lambda entry: [entry.pop("box"), entry.pop("joints_2d_gt")])
    with pytest.raises(DatasetError, match="entry 0 lacks box, joints_2d_gt"):
        Human36mToolbox(root).plan()
    (root / "h36m_train.pkl").write_bytes(pickle.dumps({"train": entries(SCENE, 0)}))
    with pytest.raises(DatasetError, match=r"h36m_train\.pkl does not hold"):
        Human36mToolbox(root).plan()
