"""MPI-INF-3DHP as P-STMO and as mmpose prepare it."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cache import FrameStatus, project
from stages.extract.crops import box_for_row
from stages.extract.datasets import DatasetError, FrameError, build_dataset
from stages.extract.datasets.pictures import read_picture
from tests.test_extract.layouts import mpi_mmpose, mpi_pstmo
from tests.test_extract.layouts.mpi_people import mpi_person_mm, scaled_to_universal
from tests.test_extract.layouts.people import write_picture

PSTMO, MMPOSE = "mpi-inf-3dhp-pstmo", "mpi-inf-3dhp-mmpose"
CAMERAS = list(mpi_pstmo.CAMERAS)


@pytest.fixture
def pstmo(tmp_path: Path) -> Path:
    mpi_pstmo.write(tmp_path)
    return tmp_path


@pytest.fixture
def mmpose(tmp_path: Path) -> Path:
    mpi_mmpose.write(tmp_path)
    return tmp_path


def test_pstmo_labels_are_absolute_universal_millimetres(pstmo: Path) -> None:
    dataset = build_dataset(PSTMO, root=pstmo, cameras=CAMERAS)
    plan = dataset.plan()
    expected = scaled_to_universal(mpi_pstmo.people(0))
    np.testing.assert_allclose(plan.joints_3d_mm[:3], expected, atol=1e-3)
    assert plan.cameras == ()
    assert any("univ_annot3" in note for note in dataset.content_identity()["notes"])


def test_pstmo_cameras_are_numbers_and_not_positions(pstmo: Path) -> None:
    dataset = build_dataset(PSTMO, root=pstmo, cameras=[4])
    plan = dataset.plan()
    expected = scaled_to_universal(mpi_pstmo.people(4))
    np.testing.assert_allclose(plan.joints_3d_mm[:3], expected, atol=1e-3)
    assert plan.index["clip"].words()[0] == "S1.Seq1.Cam4"
    wanted = pstmo / "images/s_01_seq_01_ca_04/s_01_seq_01_ca_04_000001.jpg"
    wanted.unlink()
    with pytest.raises(FrameError, match=r"s_01_seq_01_ca_04_000001\.jpg"):
        dataset.load_image(0)


def test_pstmo_nominal_intrinsics_go_by_the_cameras_number(pstmo: Path) -> None:
    plan = build_dataset(PSTMO, root=pstmo, cameras=CAMERAS, intrinsics="nominal").plan()
    for camera in plan.cameras:
        if "Cam" in camera.name:
            expected = mpi_pstmo.NOMINAL[int(camera.name.rpartition("Cam")[2])]
            np.testing.assert_allclose(camera.K[[0, 1, 0, 1], [0, 1, 2, 2]], expected)
    rates = {camera.name: camera.fps for camera in plan.cameras}
    assert (rates["S1.Seq1.Cam4"], rates["S1.Seq2.Cam4"], rates["TS1"]) == (25, 50, None)
    outdoors = next(camera for camera in plan.cameras if camera.name == "TS5")
    assert outdoors.distortion_model == "opencv"


def test_pstmo_test_rows_are_the_valid_frames(pstmo: Path) -> None:
    dataset = build_dataset(PSTMO, root=pstmo, subjects=["TS1", "TS5"])
    shown = read_picture(pstmo / "images" / "TS1" / "TS1_000002.jpg")
    np.testing.assert_array_equal(dataset.load_image(0), shown)
    plan = dataset.plan()
    assert plan.index["frame"].codes.tolist() == [2, 3, 2, 3]
    assert set(plan.index["split"].words()) == {"test"}
    expected = scaled_to_universal(mpi_pstmo.people(0))[1:]
    np.testing.assert_allclose(plan.joints_3d_mm[:2], expected, atol=1e-3)


def test_pstmo_without_cameras_has_no_boxes_from_3d(pstmo: Path) -> None:
    plan = build_dataset(PSTMO, root=pstmo, cameras=CAMERAS).plan()
    with pytest.raises(FrameError, match="no cameras") as caught:
        box_for_row(plan, 0, "gt3d")
    assert caught.value.status == FrameStatus.BAD_BOX
    nominal = build_dataset(PSTMO, root=pstmo, cameras=CAMERAS, intrinsics="nominal").plan()
    nominal = replace(nominal, image_size=np.full_like(nominal.image_size, 2048))
    width = np.diff(box_for_row(nominal, 0, "gt3d")[[0, 2]])[0]
    assert width == pytest.approx(2000 * 1497.693 / mpi_person_mm(0)[14, 2], rel=1e-6)


def test_pstmo_crops_in_place_of_pictures_are_refused(pstmo: Path) -> None:
    folder = pstmo / "images" / "s_08_seq_01_ca_04"
    write_picture(folder / "s_08_seq_01_ca_04_000001.jpg", (256, 192), 0)
    with pytest.raises(DatasetError, match="crop of 192 x 256"):
        build_dataset(PSTMO, root=pstmo, cameras=CAMERAS).plan()
    assert len(build_dataset(PSTMO, root=pstmo, cameras=CAMERAS, subjects=["S1"]).plan()) == 18


def test_pstmo_files_are_read_without_running_what_they_name(pstmo: Path) -> None:
    np.savez(pstmo / "data_test_3dhp.npz", data=np.array({"TS1": Path("/")}))
    with pytest.raises(DatasetError, match=r"data_test_3dhp\.npz"):
        build_dataset(PSTMO, root=pstmo, cameras=CAMERAS).plan()


def test_pstmo_cameras_that_are_not_there_are_named(pstmo: Path) -> None:
    with pytest.raises(DatasetError, match=r"lacks the cameras \[1, 2, 5, 6, 7\]"):
        build_dataset(PSTMO, root=pstmo).plan()


def test_pstmo_sequences_of_another_shape_are_refused(pstmo: Path) -> None:
    for content, message in (
        ({"S1 Seq1": {"0": {}}}, r"'S1 Seq1' is not \[cameras, fps\]"),
        ({"S1_Seq1": [{}, 25]}, "not like 'S1 Seq1'"),
        ([1], "no dictionary 'data'"),
    ):
        np.savez(pstmo / "data_train_3dhp.npz", data=np.array(content))
        with pytest.raises(DatasetError, match=message):
            build_dataset(PSTMO, root=pstmo, cameras=CAMERAS).plan()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"TS9": {}}, "not TS1 to TS6"),
        ({"TS1": {"data_2d": np.zeros((2, 17, 2))}}, "without data_2d and data_3d"),
        (
            {"TS1": {"data_2d": np.zeros((2, 16, 2)), "data_3d": np.zeros((2, 16, 3))}},
            r"got \(2, 16, 2\)",
        ),
        (
            {"TS1": {"data_2d": np.zeros((2, 17, 2)), "data_3d": np.zeros((2, 17, 3))}},
            "0 validity flags for 2 frames",
        ),
    ],
)
def test_pstmo_entries_of_other_shapes_are_refused(
    pstmo: Path, content: dict[str, object], message: str
) -> None:
    np.savez(pstmo / "data_test_3dhp.npz", data=np.array(content))
    with pytest.raises(DatasetError, match=message):
        build_dataset(PSTMO, root=pstmo, cameras=CAMERAS).plan()


def test_mmpose_labels_become_millimetres(mmpose: Path) -> None:
    plan = build_dataset(MMPOSE, root=mmpose, subjects=["TS1"]).plan()
    np.testing.assert_allclose(plan.joints_3d_mm[0], mpi_person_mm(4), atol=1e-3)
    assert plan.index["frame"].codes.tolist() == [4, 9]


def test_mmpose_cameras_map_the_world_to_the_camera(mmpose: Path) -> None:
    plan = build_dataset(MMPOSE, root=mmpose, subjects=["S1"]).plan()
    worlds = []
    for clip in ("S1.Seq1.Cam0", "S1.Seq1.Cam8"):
        row = plan.index["clip"].rows_of(clip)[0]
        camera = plan.cameras[plan.index["camera"].codes[row]]
        assert camera.name == clip
        worlds.append((plan.joints_3d_mm[row] - camera.t_mm) @ camera.R)
    np.testing.assert_allclose(worlds[0], worlds[1], atol=1e-2)
    np.testing.assert_allclose(worlds[0], mpi_mmpose.world_person_mm(0), atol=1e-2)


def test_mmpose_height_of_204_px_is_not_believed(mmpose: Path) -> None:
    with (mmpose / "annotations" / "cameras_train.pkl").open("rb") as file:
        assert {camera["h"] for camera in pickle.load(file).values()} == {204.0}
    plan = build_dataset(MMPOSE, root=mmpose).plan()
    assert (plan.image_size == mpi_mmpose.PICTURE_SIZE).all()


def test_mmpose_joints_outside_the_picture_keep_their_labels(mmpose: Path) -> None:
    with np.load(mmpose / "annotations" / "mpi_inf_3dhp_test_valid.npz") as content:
        assert (content["part"][..., 2] == 0).any()
    plan = build_dataset(MMPOSE, root=mmpose, subjects=["TS2"]).plan()
    assert plan.valid.all()
    assert plan.joints_2d_px.min() < 0
    assert np.abs(project(plan.joints_3d_mm, plan.cameras[0]) - plan.joints_2d_px).max() < 1e-3


def test_mmpose_boxes_are_centre_and_scale_in_units_of_200_px(mmpose: Path) -> None:
    plan = build_dataset(MMPOSE, root=mmpose, subjects=["TS1"]).plan()
    low, high = plan.joints_2d_px[0].min(axis=0), plan.joints_2d_px[0].max(axis=0)
    half = 0.6 * (high - low).max()
    middle = (low + high) / 2
    np.testing.assert_allclose(plan.boxes_px[0], [*(middle - half), *(middle + half)], rtol=1e-5)


def test_mmpose_rates_are_those_of_the_sequences(mmpose: Path) -> None:
    cameras = build_dataset(MMPOSE, root=mmpose).plan().cameras
    rates = {camera.name: camera.fps for camera in cameras}
    assert rates["S1.Seq1.Cam8"] == 25
    assert rates["S1.Seq2.Cam0"] == 50
    assert rates["TS1"] is None


def test_mmpose_cameras_that_are_missing_are_named(mmpose: Path) -> None:
    (mmpose / "annotations" / "cameras_test.pkl").write_bytes(pickle.dumps({}))
    with pytest.raises(DatasetError, match="lacks the camera 'TS1'"):
        build_dataset(MMPOSE, root=mmpose).plan()
    assert len(build_dataset(MMPOSE, root=mmpose, subjects=["S1"]).plan()) == 6


def test_mmpose_other_picture_names_are_refused(mmpose: Path) -> None:
    path = mmpose / "annotations" / "mpi_inf_3dhp_train.npz"
    with np.load(path) as content:
        changed = dict(content)
    changed["imgname"] = np.array(["S1_000001.jpg"] * len(changed["imgname"]))
    np.savez(path, **changed)
    with pytest.raises(DatasetError, match=r"not like S1_Seq1_Cam0_000001\.jpg"):
        build_dataset(MMPOSE, root=mmpose).plan()


@pytest.mark.parametrize("layout", ["pstmo", "mmpose"])
def test_s8_is_the_validation_split(layout: str, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(layout)
    options = {"cameras": CAMERAS} if layout == "pstmo" else {}
    plan = build_dataset(f"mpi-inf-3dhp-{layout}", root=root, **options).plan()
    subjects = np.array(plan.index["subject"].words())
    splits = np.array(plan.index["split"].words())
    assert set(subjects[splits == "validation"]) == {"S8"}
    assert set(subjects[splits == "train"]) == {"S1"}
    assert {word[:2] for word in subjects[splits == "test"]} == {"TS"}


@pytest.mark.parametrize("layout", ["pstmo", "mmpose"])
def test_stride_and_limit_thin_every_clip_and_split(
    layout: str, request: pytest.FixtureRequest
) -> None:
    root = request.getfixturevalue(layout)
    options = {"cameras": CAMERAS} if layout == "pstmo" else {}
    name = f"mpi-inf-3dhp-{layout}"
    thinned = build_dataset(name, root=root, stride=2, **options).plan()
    clips = thinned.index["clip"].words()
    assert all(np.diff(thinned.index["frame"].codes[i : i + 2]) != 1 for i in range(len(clips) - 1))
    limited = build_dataset(name, root=root, limit=1, **options).plan()
    assert limited.index["split"].words() == ["train", "validation", "test"]


@pytest.mark.parametrize("key", ["S", "part", "scale", "center"])
def test_mmposes_labels_must_be_as_many_as_its_pictures(mmpose: Path, key: str) -> None:
    path = mmpose / "annotations" / "mpi_inf_3dhp_train.npz"
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{**arrays, key: np.concatenate([arrays[key], arrays[key][:1]])})
    with pytest.raises(DatasetError, match="labels and pictures are not as many"):
        build_dataset(MMPOSE, root=mmpose).plan()
