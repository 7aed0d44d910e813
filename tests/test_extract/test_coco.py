"""COCO's json: joints, boxes, what is left out, and that a detector can be trained from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stages.extract.crops import CropConfig, box_for_row
from stages.extract.datasets import DatasetError, build_dataset
from stages.extract.datasets.coco import Coco
from stages.extract.datasets.coco_joints import halpe26, wholebody133
from stages.extract.training.config import NetworkConfig
from stages.extract.training.crops import AugmentConfig, TrainingCrops
from stages.extract.training.train import TrainDetectorConfig, train_detector
from tests.test_extract.layouts.coco import annotation, coco_joints_px, write_coco


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_coco(tmp_path)
    return tmp_path


def edit(path: Path, change: Any) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_persons_of_a_picture_are_clips_of_their_own(root: Path) -> None:
    plan = Coco(root).plan()
    assert plan.index["item"].words() == [
        "train2017/000000000011.jpg#900",
        "train2017/000000000011.jpg#902",
        "train2017/000000000012.jpg#901",
        "train2017/000000000013.jpg#903",
        "val2017/000000000021.jpg#903",
        "val2017/000000000022.jpg#904",
    ]
    assert plan.index["split"].words() == ["train"] * 4 + ["validation"] * 2
    assert plan.index["person"].words() == ["900", "902", "901", "903", "903", "904"]
    assert len(set(plan.index["clip"].words())) == 6
    assert plan.joints_3d_mm is None


def test_crowds_and_persons_without_joints_are_left_out(root: Path) -> None:
    assert not {"905", "906"} & set(Coco(root).plan().index["person"].words())


def test_visibility_says_which_joints_are_labelled_and_which_seen(root: Path) -> None:
    plan = Coco(root).plan()
    assert plan.visible is not None
    assert np.flatnonzero(~plan.valid[0]).tolist() == [16]
    assert np.flatnonzero(~plan.visible[0]).tolist() == [4, 16]
    np.testing.assert_allclose(plan.joints_2d_px[2, :16], coco_joints_px(1)[:16], atol=1e-4)
    assert (plan.joints_2d_px[:, 16] == 0).all()


def test_boxes_are_corners_of_the_annotated_ones(root: Path) -> None:
    plan = Coco(root).plan()
    points = coco_joints_px(0)[:16]
    expected = [*points.min(axis=0) - 4, *points.max(axis=0) + 4]
    np.testing.assert_allclose(box_for_row(plan, 0, "imported"), expected, atol=1e-3)


def test_stride_and_limit_count_persons(root: Path) -> None:
    assert Coco(root, stride=2).plan().index["person"].words() == ["900", "901", "903"]
    assert Coco(root, limit=1).plan().index["split"].words() == ["train", "validation"]


def test_one_file_is_enough(root: Path) -> None:
    (root / "annotations/person_keypoints_train2017.json").unlink()
    assert set(Coco(root, train=None).plan().index["split"].words()) == {"validation"}
    with pytest.raises(DatasetError, match="option train or validation"):
        Coco(root, train=None, validation=None)


def test_wrong_files_are_named(root: Path) -> None:
    path = root / "annotations/person_keypoints_val2017.json"
    edit(path, lambda content: content["annotations"][0].update(image_id=5))
    with pytest.raises(DatasetError, match=r"val2017\.json is not COCO's json"):
        Coco(root).plan()
    path.write_text("{")
    with pytest.raises(DatasetError, match=r"val2017\.json is not COCO's json"):
        Coco(root).plan()


def test_a_file_of_another_joint_set_says_which_option_to_set(root: Path) -> None:
    with pytest.raises(DatasetError, match="Set the option skeleton"):
        Coco(root, skeleton="WHOLEBODY133").plan()
    with pytest.raises(DatasetError, match="set skeleton to one of COCO17"):
        Coco(root, skeleton="H36M17")


def test_a_person_annotated_twice_is_an_error(root: Path) -> None:
    path = root / "annotations/person_keypoints_train2017.json"
    edit(path, lambda content: content["annotations"].append(content["annotations"][0]))
    with pytest.raises(DatasetError, match="1 annotations repeat"):
        Coco(root).plan()


def whole_body(**flags: bool) -> dict[str, Any]:
    parts = {"foot": 6, "face": 68, "lefthand": 21, "righthand": 21}
    person = annotation(0, 1)
    for start, (part, num_joints) in enumerate(parts.items()):
        points = [[100 * start + i, i, 1] for i in range(num_joints)]
        person[f"{part}_kpts"] = np.array(points, dtype=float).reshape(-1).tolist()
        person[f"{part}_valid"] = flags.get(part, True)
    return person


def test_whole_bodies_are_body_feet_face_left_and_right_hand() -> None:
    joints = wholebody133(whole_body())
    assert joints.shape == (133, 3)
    np.testing.assert_allclose(joints[:16, :2], coco_joints_px(0)[:16])
    firsts = {17: 0, 23: 100, 91: 200, 112: 300}
    assert {joint: joints[joint, 0] for joint in firsts} == firsts
    assert joints[17, 2] == 1
    assert (joints[23:, 2] == 2).all()


@pytest.mark.parametrize(
    ("part", "joints"),
    [("foot", (17, 23)), ("face", (23, 91)), ("lefthand", (91, 112)), ("righthand", (112, 133))],
)
def test_a_part_that_is_flagged_invalid_has_no_joints(part: str, joints: tuple[int, int]) -> None:
    without = wholebody133(whole_body(**{part: False}))
    lost = np.flatnonzero((without[:, 2] == 0) & (wholebody133(whole_body())[:, 2] > 0))
    assert lost.tolist() == list(range(*joints))


def test_halpe_files_of_26_or_136_joints_give_26() -> None:
    points = np.column_stack([np.arange(136), np.arange(136), np.full(136, 2)]).astype(float)
    for count in (26, 136):
        joints = halpe26({"id": 1, "keypoints": points[:count].reshape(-1).tolist()})
        np.testing.assert_array_equal(joints, points[:26])
    with pytest.raises(DatasetError, match="has 17 joints"):
        halpe26({"id": 1, "keypoints": points[:17].reshape(-1).tolist()})


def test_crops_for_training_show_the_persons_with_their_labels(root: Path) -> None:
    dataset = Coco(root)
    crops = TrainingCrops(dataset, range(6), CropConfig(box_source="imported"), AugmentConfig())
    assert crops.rows == tuple(range(6))
    weights = np.stack([crops((row, 0))[0].weights for row in range(6)])
    assert (weights.sum(axis=1) > 8).all()


def test_a_detector_trains_on_it(root: Path, tmp_path: Path) -> None:
    config = TrainDetectorConfig(
        crop=CropConfig(box_source="imported", input_size=(64, 64)),
        network=NetworkConfig(base_channels=4, bottleneck_channels=4, num_blocks=1),
        steps=2,
        batch_size=2,
        workers=0,
    )
    dataset = Coco(root)
    metrics = train_detector(dataset, dataset, config, tmp_path / "detector")
    assert metrics["steps"] == 2
    assert metrics["validation"]["validation"]["num_rows"] == 2


@pytest.mark.parametrize(
    ("file", "skeleton", "num_joints"),
    [("test_coco.json", "COCO17", 17), ("test_coco_wholebody.json", "WHOLEBODY133", 133)],
)
def test_real_annotations_are_read(
    test_data: Path, file: str, skeleton: str, num_joints: int
) -> None:
    dataset = build_dataset(
        "coco",
        root=test_data / "mmpose-samples" / "coco",
        train=None,
        validation=file,
        validation_pictures="",
        skeleton=skeleton,
    )
    plan = dataset.plan()
    assert plan.index["item"].words()[0] == "000000000785.jpg#442619"
    assert plan.valid.shape == (12, num_joints)
    assert plan.valid[:, :17].sum() == 17 + 14 + 15 + 15 + 15 + 12 + 17 + 16 + 16 + 15 + 16 + 13
    assert tuple(plan.image_size[0]) == dataset.load_image(0).shape[:2] == (425, 640)
    body = plan.valid.copy()
    body[:, 17:] = False
    assert plan.boxes_px is not None
    for row, box in enumerate(plan.boxes_px):  # annotators' boxes hold the joints but for a few px
        points = plan.joints_2d_px[row][body[row]]
        assert (points >= box[:2] - 12).all()
        assert (points <= box[2:] + 12).all()
