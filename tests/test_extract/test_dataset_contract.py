"""What every adapter of a dataset on disk keeps."""

from __future__ import annotations

import pickle
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import FrameStatus, RowPlan, project
from cache.skeletons import get_skeleton
from stages.extract.datasets import Dataset, DatasetError, FrameError, build_dataset
from tests.test_extract.layouts import LayoutCase, all_cases

CASES = all_cases()


def build(case: LayoutCase, root: Path) -> Dataset:
    return build_dataset(case.dataset, root=root, **case.options)


@pytest.fixture(params=CASES, ids=str)
def case(request: pytest.FixtureRequest) -> LayoutCase:
    chosen: LayoutCase = request.param
    return chosen


@pytest.fixture
def root(case: LayoutCase, tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    case.write(folder)
    return folder


def projection_errors_px(plan: RowPlan) -> NDArray[np.float64]:
    """Distance [N, J] of projected 3D labels from 2D labels; NaN where a joint is not valid."""
    assert plan.joints_3d_mm is not None
    errors = np.full(plan.valid.shape, np.nan)
    for row, joints in enumerate(plan.joints_3d_mm):
        camera = plan.cameras[plan.index["camera"].codes[row]]
        distance = np.linalg.norm(project(joints, camera) - plan.joints_2d_px[row], axis=-1)
        errors[row] = np.where(plan.valid[row], distance, np.nan)
    return errors


def test_labels_project_onto_the_picture(case: LayoutCase, root: Path) -> None:
    plan = build(case, root).plan()
    if case.tolerance_px is None:
        assert plan.joints_3d_mm is None
        return
    if not case.projects:
        assert plan.joints_3d_mm is not None
        pytest.skip("3D labels of another size or without cameras")
    errors = projection_errors_px(plan)
    assert plan.valid.any()
    assert np.nanmax(errors) <= case.tolerance_px


def test_projection_notices_a_joint_that_is_off(case: LayoutCase, root: Path) -> None:
    if case.tolerance_px is None or not case.projects:
        pytest.skip("no 3D labels that project")
    plan = build(case, root).plan()
    joints = plan.joints_2d_px.copy()
    row, joint = np.argwhere(plan.valid)[-1]
    joints[row, joint] += 2 * case.tolerance_px + 1e-3
    assert np.nanmax(projection_errors_px(replace(plan, joints_2d_px=joints))) > case.tolerance_px


def test_left_joints_are_the_persons_left(case: LayoutCase, root: Path) -> None:
    if not case.faces_camera:
        pytest.skip("nobody looks into the camera")
    plan = build(case, root).plan()
    skeleton = get_skeleton(plan.skeleton)
    left, right = list(skeleton.left), list(skeleton.right)
    both = plan.valid[:, left] & plan.valid[:, right]
    if not both.any():
        pytest.skip("no labels")
    difference = plan.joints_2d_px[:, left, 0] - plan.joints_2d_px[:, right, 0]
    assert (np.where(both, difference, 0).sum(axis=1) > 0)[both.any(axis=1)].all()


def test_splits_share_no_clip(case: LayoutCase, root: Path) -> None:
    plan = build(case, root).plan()
    splits = defaultdict(set)
    for clip, split in zip(plan.index["clip"].words(), plan.index["split"].words(), strict=True):
        splits[clip].add(split)
    assert all(len(names) == 1 for names in splits.values())


def test_rows_and_identity_do_not_depend_on_the_folder(
    case: LayoutCase, root: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "another name"
    elsewhere.mkdir()
    case.write(elsewhere)
    first, second = build(case, root), build(case, elsewhere)
    assert first.plan().fingerprint() == second.plan().fingerprint()
    assert first.content_identity() == second.content_identity()
    assert str(tmp_path) not in repr(first.content_identity())
    if len(first.plan()) > 1:
        limited = build_dataset(case.dataset, root=root, **case.options, limit=1)
        assert limited.content_identity() != first.content_identity()


def test_a_copy_in_another_process_reads_the_same_pictures(case: LayoutCase, root: Path) -> None:
    dataset = build(case, root)
    copy = pickle.loads(pickle.dumps(dataset))
    sizes = dataset.plan().image_size
    for row in (0, len(sizes) - 1):
        picture = dataset.load_image(row)
        assert picture.dtype == np.uint8
        assert picture.shape == (*sizes[row], 3)
        np.testing.assert_array_equal(copy.load_image(row), picture)


def test_imported_keypoints_have_a_row_for_each_row(case: LayoutCase, root: Path) -> None:
    dataset = build(case, root)
    for keypoints in dataset.imported_keypoints().values():
        assert len(keypoints.points) == len(dataset.plan())


def test_missing_annotations_are_named_together(case: LayoutCase, root: Path) -> None:
    for name in case.annotations:
        (root / name).unlink()
    if not case.annotations:
        pytest.skip("needs no annotations")
    with pytest.raises(DatasetError) as caught:
        build(case, root).plan()
    for name in case.annotations:
        assert name in str(caught.value).replace("\\", "/")


def test_a_missing_picture_is_a_bad_row_and_not_an_error(case: LayoutCase, root: Path) -> None:
    if case.picture is None:
        pytest.skip("rows exist because their pictures do")
    (root / case.picture).unlink()
    dataset = build(case, root)
    assert tuple(dataset.plan().image_size[0]) == (0, 0)
    with pytest.raises(FrameError) as caught:
        dataset.load_image(0)
    assert caught.value.status == FrameStatus.MISSING
