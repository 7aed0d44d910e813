"""The same sequences in four layouts are the same rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import RowPlan
from stages.extract.datasets import Dataset, build_dataset
from tests.test_extract.layouts.human36m_world import CAMERA_IDS, NUM_FRAMES, SCENES, Scene
from tests.test_extract.test_human36m_protocol import WRITERS

LAYOUTS = tuple(WRITERS)
CHOSEN = (SCENES[0], SCENES[1], SCENES[2], SCENES[4])
CAMERAS = (0, 1)


def written(layout: str, root: Path, **more: Any) -> Dataset:
    write, options = WRITERS[layout]
    write(root, CHOSEN)
    return build_dataset(layout, root=root, **options, **more)


def rows_of(plan: RowPlan, scene: Scene, camera: int) -> NDArray[np.intp]:
    key = f"{scene.folder}.{CAMERA_IDS[camera]}"
    action = scene.base_name.split()[0]
    actions = {action, action.replace("TakingPhoto", "Photo")}
    return np.array(
        [
            row
            for row, (name, word) in enumerate(
                zip(plan.index["camera"].words(), plan.index["action"].words(), strict=True)
            )
            if name == key and word in actions
        ]
    )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_labels_are_the_world_seen_by_each_camera(layout: str, tmp_path: Path) -> None:
    plan = written(layout, tmp_path).plan()
    assert plan.joints_3d_mm is not None
    assert plan.valid.all()
    for scene in CHOSEN:
        for camera in CAMERAS:
            rows = rows_of(plan, scene, camera)
            assert plan.index["frame"].codes[rows].tolist() == [1, 2, 3, 4]
            np.testing.assert_allclose(plan.joints_3d_mm[rows], scene.camera_mm(camera), atol=1e-2)
            np.testing.assert_allclose(plan.joints_2d_px[rows], scene.px(camera), atol=1e-3)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_splits_are_those_of_the_papers_with_a_subject_held_out(
    layout: str, tmp_path: Path
) -> None:
    plan = written(layout, tmp_path, validation_subjects=["S8"]).plan()
    found = set(zip(plan.index["subject"].words(), plan.index["split"].words(), strict=True))
    assert found == {("S1", "train"), ("S8", "validation"), ("S9", "test")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_nth_frame_counts_from_the_first_of_each_clip(layout: str, tmp_path: Path) -> None:
    plan = written(layout, tmp_path, stride=3).plan()
    assert set(plan.index["frame"].codes.tolist()) == {1, 4}
    clips = plan.index["clip"].codes
    assert len(clips) == 2 * len(np.unique(clips))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_subjects_and_limit_choose_rows(layout: str, tmp_path: Path) -> None:
    dataset = written(layout, tmp_path, subjects=["S1"], limit=5)
    plan = dataset.plan()
    assert set(plan.index["subject"].words()) == {"S1"}
    assert len(plan) == 5


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_subactions_are_the_metadatas(layout: str, tmp_path: Path) -> None:
    plan = written(layout, tmp_path).plan()
    for scene, subaction in zip(CHOSEN, ("1", "1", "1", "2"), strict=True):
        rows = rows_of(plan, scene, 0)
        assert len(rows) == NUM_FRAMES
        assert {plan.index["subaction"].words()[row] for row in rows} == {subaction}


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if name != "human36m-raw"])
def test_detections_of_other_networks_come_along(layout: str, tmp_path: Path) -> None:
    options = {"detections": {"cpn": "joint_2d_det_files/cpn_{split}.npy"}}
    dataset = written(layout, tmp_path, **(options if layout == "human36m" else {}))
    name = {"human36m-videopose3d": "cpn_ft_h36m_dbb"}.get(layout, "cpn")
    keypoints = dataset.imported_keypoints()[name]
    assert keypoints.skeleton == "H36M17"
    difference = keypoints.points[..., :2] - dataset.plan().joints_2d_px
    np.testing.assert_allclose(difference, np.broadcast_to([3, -2], difference.shape), atol=2e-3)
    assert (keypoints.points[..., 2] == (0.5 if layout == "human36m" else 1)).all()


@pytest.mark.parametrize("layout", LAYOUTS[1:])
def test_a_subject_that_is_not_there_is_an_error(layout: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="S7"):
        written(layout, tmp_path, subjects=["S7"]).plan()
