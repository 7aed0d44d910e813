from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from cache import FrameStatus, project, world_to_camera
from stages.extract.crops import box_for_row
from stages.extract.datasets import DatasetError, FrameError, build_dataset
from stages.extract.datasets.mpi_inf_3dhp.facts import MPI17_OF_28, SEQUENCES
from stages.extract.datasets.mpi_inf_3dhp.files import read_calibration
from stages.extract.datasets.pictures import read_picture
from tests.test_extract.layouts import LayoutCase, all_cases
from tests.test_extract.layouts.mpi_people import (
    JOINTS_17,
    JOINTS_28,
    OUTDOORS,
    OUTDOORS_DISTORTION,
    camera_pose,
    intrinsics,
    mpi_person_mm,
    opencv_px,
    scaled_to_universal,
)
from tests.test_extract.layouts.mpi_raw import (
    train_joints,
    write,
    write_annotations,
    write_calibration,
    write_test_sequence,
    write_video,
)
from tests.test_extract.layouts.people import picture, write_picture

RAW = "mpi-inf-3dhp"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path)
    return tmp_path


def write_subject(root: Path, subject: str, num_frames: int, cameras: tuple[int, ...]) -> None:
    for sequence in ("Seq1", "Seq2"):
        write_annotations(root / subject / sequence / "annot.mat", num_frames, cameras)
        write_calibration(root / subject / sequence / "camera.calibration")


def test_the_17_joints_are_those_of_the_test_set_by_name() -> None:
    assert tuple(JOINTS_28[joint] for joint in MPI17_OF_28) == JOINTS_17
    assert MPI17_OF_28 == (7, 5, 14, 15, 16, 9, 10, 11, 23, 24, 25, 18, 19, 20, 4, 3, 6)


def test_training_joints_come_in_the_order_of_the_test_set(root: Path) -> None:
    plan = build_dataset(RAW, root=root, cameras=[0]).plan()
    expected = mpi_person_mm(0)
    np.testing.assert_allclose(plan.joints_3d_mm[0], expected, atol=1e-3)
    test = np.flatnonzero(plan.index["subject"].codes == plan.index["subject"].codes[-1])[0]
    np.testing.assert_allclose(plan.joints_3d_mm[test], mpi_person_mm(1), atol=1e-3)


def test_lengths_and_rates_are_the_official_ones() -> None:
    table = {
        "S1": "6416@25 12430@50",
        "S2": "6502@25 6081@25",
        "S3": "12488@50 12283@50",
        "S4": "6171@25 6675@25",
        "S5": "12820@50 12312@50",
        "S6": "6188@25 6145@25",
        "S7": "6239@25 6320@25",
        "S8": "6468@25 6054@25",
    }
    for subject, line in table.items():
        for number, words in enumerate(line.split(), 1):
            frames, rate = words.split("@")
            assert SEQUENCES[subject, f"Seq{number}"] == (int(frames), float(rate))


def test_rows_after_the_official_length_are_left_out(tmp_path: Path) -> None:
    write_subject(tmp_path, "S2", 3, (0,))
    write_annotations(tmp_path / "S2" / "Seq2" / "annot.mat", 6085, (0,))
    plan = build_dataset(RAW, root=tmp_path, cameras=[0]).plan()
    in_second = np.array(plan.index["clip"].words()) == "S2.Seq2.Cam0"
    assert plan.index["frame"].codes[in_second].max() == 6081
    assert in_second.sum() == 6081


def test_each_sequence_has_its_own_rate(root: Path) -> None:
    cameras = {
        camera.name: camera for camera in build_dataset(RAW, root=root, cameras=[0]).plan().cameras
    }
    assert cameras["S1.Seq1.Cam0"].fps == 25
    assert cameras["S1.Seq2.Cam0"].fps == 50


def test_cameras_are_taken_by_number_and_not_by_position(tmp_path: Path) -> None:
    write_subject(tmp_path, "S1", 2, (0, 1, 2, 4, 5, 6, 7, 8))
    plan = build_dataset(RAW, root=tmp_path).plan()
    numbers = [int(camera.name.rpartition("Cam")[2]) for camera in plan.cameras[:8]]
    assert numbers == [0, 1, 2, 4, 5, 6, 7, 8]
    for position, number in enumerate(numbers):
        camera = plan.cameras[position]
        np.testing.assert_allclose(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], intrinsics(number))
        row = np.flatnonzero(plan.index["camera"].codes == position)[0]
        np.testing.assert_allclose(
            plan.joints_3d_mm[row],
            train_joints(number, 1)[0][[JOINTS_28.index(name) for name in JOINTS_17]],
            atol=1e-3,
        )


def test_cells_are_found_by_the_files_list_of_cameras(tmp_path: Path) -> None:
    write_subject(tmp_path, "S1", 2, (4,))
    for sequence in ("Seq1", "Seq2"):
        path = tmp_path / "S1" / sequence / "annot.mat"
        content = scipy.io.loadmat(path)
        kept = {name: content[name][3:6] for name in ("annot2", "annot3", "univ_annot3")}
        scipy.io.savemat(path, {**kept, "cameras": [[3, 4, 5]], "frames": [[0], [1]]})
    plan = build_dataset(RAW, root=tmp_path, cameras=[4]).plan()
    assert np.abs(project(plan.joints_3d_mm, plan.cameras[0]) - plan.joints_2d_px).max() < 1e-3
    with pytest.raises(DatasetError, match=r"no cameras \[0\], only \[3, 4, 5\]"):
        build_dataset(RAW, root=tmp_path, cameras=[0]).plan()


def test_extrinsics_take_the_world_to_the_camera(tmp_path: Path) -> None:
    write_calibration(tmp_path / "camera.calibration")
    cameras = read_calibration(tmp_path / "camera.calibration", 25.0)
    point = np.array([300.0, -200.0, 500.0])
    for number in (0, 8):
        rotation, position = camera_pose(number)
        np.testing.assert_allclose(
            world_to_camera(point, cameras[number]), rotation @ point + position
        )


def test_calibration_may_list_cameras_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "camera.calibration"
    write_calibration(path, (8, 0))
    assert read_calibration(path, 25.0)[8].K[0, 0] == pytest.approx(intrinsics(8)[0])


def test_universal_labels_do_not_project_and_say_so(root: Path) -> None:
    dataset = build_dataset(RAW, root=root, cameras=[0], labels="univ_annot3")
    plain = build_dataset(RAW, root=root, cameras=[0])
    plan = dataset.plan()
    np.testing.assert_array_equal(plan.joints_2d_px, plain.plan().joints_2d_px)
    np.testing.assert_allclose(
        plan.joints_3d_mm[0], scaled_to_universal(mpi_person_mm(0)), atol=1e-3
    )
    errors = np.abs(project(plan.joints_3d_mm[0], plan.cameras[0]) - plan.joints_2d_px[0])
    assert errors.max() > 10
    assert any("univ_annot3" in note for note in dataset.content_identity()["notes"])
    assert not any("univ_annot3" in note for note in plain.content_identity()["notes"])


def test_only_valid_frames_of_the_test_set_are_rows(root: Path) -> None:
    plan = build_dataset(RAW, root=root, subjects=["TS1"]).plan()
    assert plan.index["frame"].codes.tolist() == [2, 4]
    np.testing.assert_allclose(plan.joints_3d_mm[1], mpi_person_mm(3), atol=1e-3)
    assert plan.index["action"].words() == ["StandingWalking", "Exercising"]


def test_pictures_of_the_test_set_count_from_1(root: Path) -> None:
    folder = root / "mpi_inf_3dhp_test_set" / "TS1" / "imageSequence"
    dataset = build_dataset(RAW, root=root, subjects=["TS1"])
    for row, frame in enumerate((2, 4)):
        shown = read_picture(folder / f"img_{frame:06d}.jpg")
        np.testing.assert_array_equal(dataset.load_image(row), shown)


def test_axes_of_the_test_set_are_not_turned_round(root: Path) -> None:
    path = root / "mpi_inf_3dhp_test_set" / "TS1" / "annot_data.mat"
    with h5py.File(path, "r+") as file:
        turned = file["annot3"][()].T
        del file["annot3"]
        file["annot3"] = turned
    with pytest.raises(DatasetError, match=r"annot3 has shape \(3, 17, 1, 4\)"):
        build_dataset(RAW, root=root).plan()


def test_outdoor_cameras_are_wide_and_distorted(root: Path) -> None:
    plan = build_dataset(RAW, root=root, subjects=["TS6"]).plan()
    points = opencv_px(mpi_person_mm(1), OUTDOORS_DISTORTION, OUTDOORS)
    np.testing.assert_allclose(project(mpi_person_mm(1), plan.cameras[0]), points, atol=1e-6)
    plain = build_dataset(RAW, root=root, subjects=["TS6"], outdoor_camera="pinhole").plan()
    assert np.abs(project(plain.joints_3d_mm, plain.cameras[0]) - plain.joints_2d_px).max() > 1


def test_studio_test_sequences_have_camera_8(root: Path) -> None:
    plan = build_dataset(RAW, root=root, subjects=["TS1"]).plan()
    expected = [1500.172, 1500.837, 1017.387, 1043.032]
    np.testing.assert_allclose(plan.cameras[0].K[[0, 1, 0, 1], [0, 1, 2, 2]], expected)
    np.testing.assert_array_equal(plan.cameras[0].R, np.eye(3))


def test_ts2_is_kept_and_its_extrinsics_are_not_used(root: Path) -> None:
    write_test_sequence(root / "mpi_inf_3dhp_test_set" / "TS2", 2, (0,))
    dataset = build_dataset(RAW, root=root, subjects=["TS2"])
    assert len(dataset.plan()) == 1
    assert any("TS2" in note for note in dataset.content_identity()["notes"])


def test_pictures_of_videos_are_found_by_frame_number(root: Path) -> None:
    dataset = build_dataset(RAW, root=root, cameras=[8], subjects=["S1"])
    plan = dataset.plan()
    for row in (5, 0, 2, 1):
        sequence = int(plan.index["action"].words()[row][-1]) - 1
        frame = plan.index["frame"].codes[row] - 1
        shown = picture((48, 64), 80 + sequence + frame).astype(float)
        other = picture((48, 64), 80 + sequence + (frame + 1) % 3).astype(float)
        found = dataset.load_image(row).astype(float)
        assert np.abs(found - shown).mean() < 12 < np.abs(found - other).mean()


def test_rows_after_a_videos_end_are_bad_and_not_an_error(root: Path) -> None:
    (root / "S1" / "Seq1" / "imageSequence" / "video_0.avi").unlink()
    write_video(root / "S1" / "Seq1" / "imageSequence" / "video_0.avi", 2, 0)
    dataset = build_dataset(RAW, root=root, cameras=[0], subjects=["S1"])
    assert dataset.plan().image_size[:3].tolist() == [[48, 64], [48, 64], [0, 0]]
    with pytest.raises(FrameError, match="frame 2 is not there") as caught:
        dataset.load_image(2)
    assert caught.value.status == FrameStatus.MISSING


def test_a_damaged_video_spoils_only_its_rows(root: Path) -> None:
    (root / "S1" / "Seq1" / "imageSequence" / "video_0.avi").write_bytes(b"no video")
    dataset = build_dataset(RAW, root=root, cameras=[0], subjects=["S1"])
    sizes = dataset.plan().image_size
    assert not sizes[:3].any()
    assert sizes[3:].all()
    with pytest.raises(FrameError) as caught:
        dataset.load_image(0)
    assert caught.value.status == FrameStatus.UNREADABLE


def test_pictures_taken_out_of_the_videos_are_read_by_pattern(root: Path) -> None:
    pattern = "imageFrames/video_{camera}/frame_{frame:06d}.jpg"
    write_picture(root / "S1/Seq2/imageFrames/video_8/frame_000003.jpg", (40, 30), 1)
    dataset = build_dataset(RAW, root=root, cameras=[8], subjects=["S1"], picture_pattern=pattern)
    assert dataset.plan().image_size.tolist() == [[0, 0]] * 5 + [[40, 30]]
    with pytest.raises(DatasetError, match="may hold only"):
        build_dataset(RAW, root=root, cameras=[8], picture_pattern="{subject}.jpg").plan()


def test_splits_hold_s8_out(root: Path) -> None:
    plan = build_dataset(RAW, root=root, cameras=[0]).plan()
    subjects = np.array(plan.index["subject"].words())
    splits = np.array(plan.index["split"].words())
    assert set(subjects[splits == "train"]) == {"S1"}
    assert set(subjects[splits == "validation"]) == {"S8"}
    assert set(subjects[splits == "test"]) == {"TS1", "TS6"}
    moved = build_dataset(RAW, root=root, cameras=[0], validation_subjects=["S1"]).plan()
    assert set(
        np.array(moved.index["split"].words())[np.array(moved.index["subject"].words()) == "S1"]
    ) == {"validation"}


def test_every_missing_file_of_a_subject_that_is_there_is_named(root: Path) -> None:
    (root / "S1" / "Seq2" / "annot.mat").unlink()
    (root / "mpi_inf_3dhp_test_set" / "TS6" / "annot_data.mat").unlink()
    with pytest.raises(DatasetError, match="2 files are missing") as caught:
        build_dataset(RAW, root=root)
    assert "imageSequence" in str(caught.value)


def test_subjects_asked_for_by_name_must_be_there(root: Path) -> None:
    with pytest.raises(DatasetError, match=r"S3/Seq2/annot\.mat"):
        build_dataset(RAW, root=root, subjects=["S1", "S3"])
    with pytest.raises(DatasetError, match=r"no subjects \['S9'\]"):
        build_dataset(RAW, root=root, subjects=["S9"])


def test_an_empty_folder_shows_the_wanted_tree(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"annot_data\.mat"):
        build_dataset(RAW, root=tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": "annot2"}, "labels is one of"),
        ({"outdoor_camera": "fisheye"}, "outdoor_camera one of"),
        ({"cameras": [99]}, r"lacks the cameras \[99\]"),
    ],
)
def test_unknown_options_are_refused(root: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        build_dataset(RAW, root=root, **options).plan()


def test_frames_numbered_otherwise_are_refused(root: Path) -> None:
    path = root / "S1" / "Seq1" / "annot.mat"
    content = scipy.io.loadmat(path)
    kept = {name: content[name] for name in ("annot2", "annot3", "univ_annot3", "cameras")}
    scipy.io.savemat(path, {**kept, "frames": [[1], [2], [3]]})
    with pytest.raises(DatasetError, match="numbers its frames otherwise"):
        build_dataset(RAW, root=root, cameras=[0]).plan()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("S1/Seq1/annot.mat", "not a MATLAB file"),
        ("S1/Seq1/camera.calibration", "no calibration|lacks the cameras"),
        ("mpi_inf_3dhp_test_set/TS1/annot_data.mat", "no test annotation"),
    ],
)
def test_damaged_annotations_are_named(root: Path, name: str, message: str) -> None:
    (root / name).write_bytes(b"\x00\x01not this" * 40)
    with pytest.raises(DatasetError, match=message) as caught:
        build_dataset(RAW, root=root, cameras=[0]).plan()
    assert name in str(caught.value)


def test_boxes_from_3d_stay_within_reach_of_the_person(root: Path) -> None:
    plan = build_dataset(RAW, root=root, cameras=[0], subjects=["TS1"]).plan()
    plan = replace(plan, image_size=np.full_like(plan.image_size, 2048))
    box = box_for_row(plan, 0, "gt3d")
    assert box[2] - box[0] == pytest.approx(2000 * 1500.172 / mpi_person_mm(1)[14, 2], rel=1e-6)


def test_labels_of_unequal_length_are_refused_since_later_ones_would_shift(root: Path) -> None:
    path = root / "S1" / "Seq1" / "annot.mat"
    content = {k: v for k, v in scipy.io.loadmat(path).items() if not k.startswith("__")}
    content["annot3"][0, 0] = content["annot3"].reshape(-1)[0][:-1]
    scipy.io.savemat(path, content)
    with pytest.raises(DatasetError, match=r"S1\.Seq1\.Cam0 has \d+ poses in 2D and \d+ in 3D"):
        build_dataset(RAW, root=root, cameras=[0]).plan()


@pytest.mark.parametrize("package", ["h5py", "av"])
def test_a_package_that_is_missing_is_named_with_its_command(
    root: Path, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(DatasetError, match=f"pip install .* {package}"):
        build_dataset(RAW, root=root, cameras=[0]).plan()


@pytest.mark.parametrize("case", [c for c in all_cases() if c.dataset.startswith("mpi")], ids=str)
def test_labels_come_in_human36ms_order_when_asked(case: LayoutCase, tmp_path: Path) -> None:
    case.write(tmp_path)
    own = build_dataset(case.dataset, root=tmp_path, **case.options)
    turned = build_dataset(case.dataset, root=tmp_path, **case.options, skeleton="H36M17")
    order = [14, 8, 9, 10, 11, 12, 13, 15, 1, 16, 0, 5, 6, 7, 2, 3, 4]
    assert own.plan().skeleton == "MPI17"
    assert turned.plan().skeleton == "H36M17"
    for name in ("joints_2d_px", "joints_3d_mm", "valid"):
        np.testing.assert_array_equal(
            getattr(turned.plan(), name), getattr(own.plan(), name)[:, order]
        )
    assert any("MPI17 as H36M17" in note for note in turned.content_identity()["notes"])
    assert turned.content_identity() != own.content_identity()
    with pytest.raises(DatasetError, match="skeleton is one of"):
        build_dataset(case.dataset, root=tmp_path, **case.options, skeleton="COCO17").plan()
