from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from cache import FrameStatus, project
from stages.extract.datasets import DATASETS, DatasetError, FrameError, build_dataset
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.datasets.pictures import picture_size, read_picture


@pytest.fixture(scope="module")
def studio(test_data: Path) -> Human36m:
    dataset = build_dataset("studio", root=test_data / "studio")
    assert isinstance(dataset, Human36m)
    return dataset


def test_labels_project_onto_the_picture_exactly(studio: Human36m) -> None:
    plan = studio.plan()
    for number, camera in enumerate(plan.cameras):
        rows = plan.index["camera"].codes == number
        points = project(plan.joints_3d_mm[rows], camera)
        assert np.abs(points - plan.joints_2d_px[rows]).max() < 1e-3


def test_projection_check_notices_opencv_distortion(studio: Human36m) -> None:
    from dataclasses import replace

    plan = studio.plan()
    camera = replace(plan.cameras[0], distortion_model="opencv")
    rows = plan.index["camera"].codes == 0
    assert np.abs(project(plan.joints_3d_mm[rows], camera) - plan.joints_2d_px[rows]).max() > 1e-3


def test_splits_hold_s8_out_and_test_on_s9_and_s11(studio: Human36m) -> None:
    plan = studio.plan()
    subject = np.array(plan.index["subject"].words())
    split = np.array(plan.index["split"].words())
    assert set(subject[split == "validation"]) == {"S8"}
    assert set(subject[split == "train"]) == {"S1", "S5", "S6", "S7"}
    assert set(subject[split == "test"]) == {"S9", "S11"}
    assert len(plan) == 10147


def test_detector_people_are_a_train_split_only(test_data: Path) -> None:
    plan = build_dataset("studio-detector", root=test_data / "studio-detector").plan()
    assert set(plan.index["split"].words()) == {"train"}
    assert len(set(plan.index["subject"].words())) == 8


def test_sizes_of_headers_are_those_of_the_pictures(studio: Human36m) -> None:
    for row in (0, 5000, 10146):
        assert studio.load_image(row).shape[:2] == tuple(studio.plan().image_size[row])


def test_rows_are_contiguous_clips_in_frame_order(dataset: Human36m) -> None:
    plan = dataset.plan()
    assert plan.index["split"].words() == ["train"] * 3 + ["validation"] * 3 + ["test"] * 3
    assert plan.index["frame"].codes.tolist() == [1, 6, 11] * 3
    assert plan.index["action"].words()[-1] == "Sitting"
    assert plan.index["subaction"].words()[-1] == "0"
    assert plan.cameras[0].t_mm[2] == pytest.approx(1000.0)


def test_options_thin_and_limit_rows(layout: Path) -> None:
    assert Human36m(layout, stride=2).plan().index["frame"].codes.tolist() == [1, 11] * 3
    assert len(Human36m(layout, limit=1).plan()) == 3
    assert set(Human36m(layout, subjects=["S9"]).plan().index["subject"].words()) == {"S9"}
    with pytest.raises(DatasetError, match="leave no labelled frame"):
        Human36m(layout, subjects=["S2"]).plan()


def test_identity_follows_content_and_not_the_folder(layout: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    identity = Human36m(layout).content_identity()
    layout.rename(moved)
    assert Human36m(moved).content_identity() == identity
    picture = next((moved / "images").rglob("*.jpg"))
    picture.write_bytes(picture.read_bytes() + b"x")
    assert Human36m(moved).content_identity() != identity
    assert Human36m(moved, stride=2).content_identity() != identity


def test_folder_without_annotations_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"(?s)h36m_train\.npz.*dataset\.root"):
        Human36m(tmp_path)


def test_unknown_names_and_options_are_refused_with_a_hint(layout: Path) -> None:
    with pytest.raises(DatasetError, match="Did you mean 'human36m'"):
        build_dataset("human36", root=layout)
    with pytest.raises(DatasetError, match="colour"):
        build_dataset("human36m", root=layout, colour=1)
    assert "synthetic" in DATASETS


def test_missing_truncated_and_unreadable_pictures_are_told_apart(
    dataset: Human36m, layout: Path
) -> None:
    names = dataset.plan().index["item"].words()
    paths = [layout / "images" / name for name in names]
    paths[0].unlink()
    paths[1].write_bytes(paths[1].read_bytes()[:-40])
    paths[2].write_bytes(b"no picture")
    expected = (FrameStatus.MISSING, FrameStatus.TRUNCATED, FrameStatus.UNREADABLE)
    for row, status in enumerate(expected):
        with pytest.raises(FrameError) as caught:
            dataset.load_image(row)
        assert caught.value.status == status
        assert pickle.loads(pickle.dumps(caught.value)).status == status
    assert picture_size(paths[0]) == (0, 0)


def test_truncated_jpeg_is_noticed(test_data: Path, tmp_path: Path) -> None:
    whole = test_data / "mmpose-samples" / "coco" / "000000000785.jpg"
    assert read_picture(whole).shape[:2] == picture_size(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    with pytest.raises(FrameError) as caught:
        read_picture(cut)
    assert caught.value.status == FrameStatus.TRUNCATED


def test_pickles_that_name_functions_are_not_run(layout: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return print, ("run",)

    (layout / "annotation_body3d" / "cameras.pkl").write_bytes(pickle.dumps({"a": Evil()}))
    with pytest.raises(DatasetError, match=r"builtins\.print"):
        Human36m(layout).plan()
