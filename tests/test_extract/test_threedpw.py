from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache.skeletons import get_skeleton
from stages.extract.datasets import DatasetError, build_dataset
from stages.extract.datasets.threedpw import COCO17_OF_OPENPOSE18
from tests.test_extract.layouts.people import write_picture
from tests.test_extract.layouts.threedpw import (
    camera_pose,
    projected_px,
    python2_pickle,
    smpl_mm,
    write,
    write_sequence,
)

OPENPOSE_18 = (
    "nose", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow",
    "left_wrist", "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
    "right_eye", "left_eye", "right_ear", "left_ear",
)  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def build(root: Path, **options: Any) -> Any:
    return build_dataset("3dpw", root=root, **options)


def test_python_2_pickles_are_read(root: Path) -> None:
    path = root / "sequenceFiles/test/downtown_walking_00.pkl"
    with pytest.raises(UnicodeDecodeError):
        pickle.loads(path.read_bytes())
    assert len(build(root, sequences=["downtown_walking_00"]).plan()) > 0


def test_pickles_that_name_anything_else_are_refused(root: Path) -> None:
    path = root / "sequenceFiles/test/downtown_walking_00.pkl"
    path.write_bytes(python2_pickle({"cam_poses": Path}))
    with pytest.raises(DatasetError, match="only numpy arrays and plain containers"):
        build(root).plan()


def test_each_person_is_a_clip_of_its_own(root: Path) -> None:
    plan = build(root, sequences=["courtyard_arguing_00"], rows="all").plan()
    assert (
        plan.index["clip"].words()
        == ["courtyard_arguing_00.0"] * 4 + ["courtyard_arguing_00.1"] * 4
    )
    assert plan.index["person"].words() == ["0"] * 4 + ["1"] * 4
    assert plan.index["frame"].codes.tolist() == [0, 1, 2, 3] * 2
    np.testing.assert_allclose(plan.joints_3d_mm[4, 0], smpl_mm(0, 1)[0], atol=1e-2)


def test_both_people_of_a_picture_share_it(root: Path) -> None:
    dataset = build(root, sequences=["courtyard_arguing_00"], rows="all")
    np.testing.assert_array_equal(dataset.load_image(3), dataset.load_image(7))
    assert np.abs(dataset.load_image(3).astype(int) - dataset.load_image(2)).max() > 5


def test_joints_move_from_the_world_to_each_pictures_camera(root: Path) -> None:
    plan = build(root, sequences=["downtown_walking_00"], skeleton="SMPL24", rows="all").plan()
    for frame in (0, 2, 3):
        np.testing.assert_allclose(plan.joints_3d_mm[frame], smpl_mm(frame, 0), atol=1e-2)
        np.testing.assert_allclose(plan.joints_2d_px[frame], projected_px(frame, 0), atol=1e-2)
    in_world = (smpl_mm(3, 0) / 1000 - camera_pose(3)[:3, 3]) @ camera_pose(3)[:3, :3]
    pose = plan.extrinsics[3]
    moved = in_world * 1000 @ pose[:, :3].T + pose[:, 3]
    np.testing.assert_allclose(moved, smpl_mm(3, 0), atol=1e-6)
    np.testing.assert_array_equal(plan.cameras[0].R, np.eye(3))


def test_rows_without_camera_pose_or_found_person_are_kept_out(root: Path) -> None:
    plan = build(root, sequences=["courtyard_arguing_00"]).plan()
    frames = plan.index["frame"].codes
    person = np.array(plan.index["person"].words())
    # Camera invalid for person 0 at frame 1; OpenPose without person 1 at frame 2.
    assert frames[person == "0"].tolist() == [0, 2, 3]
    assert frames[person == "1"].tolist() == [0, 1, 3]
    assert plan.valid.all()


def test_kept_rows_without_camera_pose_have_no_valid_joint(root: Path) -> None:
    plan = build(root, sequences=["courtyard_arguing_00"], rows="all").plan()
    assert not plan.valid[1].any()
    assert not plan.joints_3d_mm[1].any()
    assert plan.valid[[0, 2, 3, 4, 5, 6, 7]].all()


def test_joints_behind_the_camera_are_not_valid(tmp_path: Path) -> None:
    behind = np.array([(smpl_mm(frame, 0) / 1000 * [1, 1, -1]).ravel() for frame in range(4)])
    poses = np.stack([np.eye(4)] * 4)
    write_sequence(tmp_path, "test", "a_00", 1, jointPositions=[behind], cam_poses=poses)
    plan = build(tmp_path, rows="all").plan()
    assert not plan.valid.any()
    assert np.isfinite(plan.joints_2d_px).all()


def test_human36m_joints_are_smpls_of_the_same_name_and_that_is_noted(root: Path) -> None:
    dataset = build(root, sequences=["downtown_walking_00"])
    table = [0, 2, 5, 8, 1, 4, 7, 6, 12, 15, 15, 16, 18, 20, 17, 19, 21]
    plan = dataset.plan()
    assert plan.skeleton == "H36M17"
    np.testing.assert_allclose(plan.joints_3d_mm[0], smpl_mm(0, 0)[table], atol=1e-2)
    assert any("SMPL" in note for note in dataset.content_identity()["notes"])
    plain = build(root, sequences=["downtown_walking_00"], skeleton="SMPL24")
    assert plain.plan().skeleton == "SMPL24"
    assert "notes" not in plain.content_identity()


def test_openpose_joints_become_coco_by_name() -> None:
    names = tuple(OPENPOSE_18[joint] for joint in COCO17_OF_OPENPOSE18)
    assert names == get_skeleton("COCO17").joints


def test_openpose_keypoints_are_imported_joint_by_joint(root: Path) -> None:
    dataset = build(root, sequences=["courtyard_arguing_00"])
    keypoints = dataset.imported_keypoints()["openpose"]
    assert keypoints.skeleton == "COCO17"
    # Fixture: joint j of person p has x = 100 j + p, y = 50 + j + frame, score (j + 1) / 20.
    joints = np.array(COCO17_OF_OPENPOSE18)
    expected = np.stack([100.0 * joints + 1, 51.0 + joints, 0.05 * (joints + 1)], axis=1)
    row = np.flatnonzero(
        (plan_person(dataset) == "1") & (dataset.plan().index["frame"].codes == 1)
    )[0]
    np.testing.assert_allclose(keypoints.points[row], expected, rtol=1e-6)


def plan_person(dataset: Any) -> Any:
    return np.array(dataset.plan().index["person"].words())


def test_splits_are_the_folders(root: Path) -> None:
    plan = build(root).plan()
    pairs = zip(plan.index["split"].words(), plan.index["action"].words(), strict=True)
    assert set(pairs) == {
        ("train", "courtyard_arguing_00"),
        ("validation", "courtyard_basketball_01"),
        ("test", "downtown_walking_00"),
    }


def test_sizes_are_those_of_the_pictures_upright_or_not(root: Path) -> None:
    folder = root / "imageFiles/downtown_walking_00"
    write_picture(folder / "image_00000.jpg", (54, 96), 0)
    sizes = build(root, sequences=["downtown_walking_00"], rows="all").plan().image_size
    assert sizes.tolist() == [[54, 96], [96, 54], [96, 54], [96, 54]]


def test_documented_spellings_that_no_file_has_are_not_read(root: Path) -> None:
    content = write_sequence(root, "test", "downtown_walking_00", 1)
    content["poses2D"] = content.pop("poses2d")
    (root / "sequenceFiles/test/downtown_walking_00.pkl").write_bytes(python2_pickle(content))
    with pytest.raises(DatasetError, match=r"no sequence of 3DPW.*poses2d"):
        build(root).plan()


def test_sequences_that_are_not_there_are_named(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"no sequences \['nowhere'\]"):
        build(root, sequences=["nowhere"])
    with pytest.raises(DatasetError, match=r"image_00000\.jpg"):
        build(root / "imageFiles")
    with pytest.raises(DatasetError, match="rows one of"):
        build(root, rows="some")
