"""What every adapter of a dataset on disk keeps."""

from __future__ import annotations

import contextlib
import pickle
import re
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import CacheError, FrameStatus, RowPlan, project
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


def only(wanted: Callable[[LayoutCase], bool]) -> pytest.MarkDecorator:
    """Runs a test for some of the cases: those to which its sentence applies."""
    return pytest.mark.parametrize("case", [case for case in CASES if wanted(case)], ids=str)


def has_3d(case: LayoutCase) -> bool:
    return case.tolerance_px is not None


def projects(case: LayoutCase) -> bool:
    return has_3d(case) and case.projects


def projection_errors_px(plan: RowPlan) -> NDArray[np.float64]:
    """Distance [N, J] of projected 3D labels from 2D labels; NaN where a joint is not valid."""
    assert plan.joints_3d_mm is not None
    errors = np.full(plan.valid.shape, np.nan)
    for row, joints in enumerate(plan.joints_3d_mm):
        camera = plan.cameras[plan.index["camera"].codes[row]]
        distance = np.linalg.norm(project(joints, camera) - plan.joints_2d_px[row], axis=-1)
        errors[row] = np.where(plan.valid[row], distance, np.nan)
    return errors


def test_3d_labels_are_there_or_left_out(case: LayoutCase, root: Path) -> None:
    assert (build(case, root).plan().joints_3d_mm is not None) == has_3d(case)


@only(projects)
def test_labels_project_onto_the_picture(case: LayoutCase, root: Path) -> None:
    plan = build(case, root).plan()
    errors = projection_errors_px(plan)
    assert plan.valid.any()
    assert case.tolerance_px is not None
    assert np.nanmax(errors) <= case.tolerance_px


@only(projects)
def test_projection_notices_a_joint_that_is_off(case: LayoutCase, root: Path) -> None:
    assert case.tolerance_px is not None
    plan = build(case, root).plan()
    joints = plan.joints_2d_px.copy()
    row, joint = np.argwhere(plan.valid)[-1]
    joints[row, joint] += 2 * case.tolerance_px + 1e-3
    assert np.nanmax(projection_errors_px(replace(plan, joints_2d_px=joints))) > case.tolerance_px


@only(lambda case: case.faces_camera)
def test_left_joints_are_the_persons_left(case: LayoutCase, root: Path) -> None:
    plan = build(case, root).plan()
    skeleton = get_skeleton(plan.skeleton)
    left, right = list(skeleton.left), list(skeleton.right)
    both = plan.valid[:, left] & plan.valid[:, right]
    assert both.any()
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


@only(lambda case: bool(case.annotations))
def test_missing_annotations_are_named_together(case: LayoutCase, root: Path) -> None:
    for name in case.annotations:
        (root / name).unlink()
    with pytest.raises(DatasetError) as caught:
        build(case, root).plan()
    for name in case.annotations:
        assert name in str(caught.value).replace("\\", "/")


@only(lambda case: bool(case.annotations))
def test_damaged_annotations_are_refused_by_name_or_read(case: LayoutCase, root: Path) -> None:
    chance = np.random.default_rng(0)
    for name in case.annotations:
        file = root / name
        whole = file.read_bytes()
        flipped = np.frombuffer(whole, dtype=np.uint8).copy()
        flipped[chance.integers(len(whole), size=3)] = chance.integers(256, size=3)
        for damaged in (b"", whole[: len(whole) // 8], whole[: len(whole) // 2], bytes(flipped)):
            file.write_bytes(damaged)
            with contextlib.suppress(DatasetError, CacheError):
                build(case, root).plan()
        file.write_bytes(b"")
        with pytest.raises(DatasetError, match=re.escape(file.name)):
            build(case, root).plan()
        file.write_bytes(whole)


@only(lambda case: case.picture is not None)
def test_a_missing_picture_is_a_bad_row_and_not_an_error(case: LayoutCase, root: Path) -> None:
    assert case.picture is not None
    (root / case.picture).unlink()
    dataset = build(case, root)
    assert tuple(dataset.plan().image_size[0]) == (0, 0)
    with pytest.raises(FrameError) as caught:
        dataset.load_image(0)
    assert caught.value.status == FrameStatus.MISSING
