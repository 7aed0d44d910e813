from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cache import convert_keypoints, get_skeleton
from stages.extract.datasets.base import Dataset, DatasetError, FrameError
from stages.extract.datasets.folder import Folder
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.imports import KeypointFile, WithKeypoints
from stages.extract.imports.order import refuse_other_order
from tests.test_extract.layouts.people import write_picture

Write = Callable[..., Path]


@pytest.fixture
def items(dataset: Human36m) -> list[str]:
    return dataset.plan().index["item"].words()


@pytest.fixture
def found(dataset: Human36m) -> NDArray[np.float32]:
    """The labels, a px off, with scores: what a good detector finds."""
    labels = dataset.plan().joints_2d_px
    noise = np.random.default_rng(5).normal(size=labels.shape)
    scores = np.random.default_rng(6).uniform(0.2, 1.0, (*labels.shape[:2], 1))
    return np.concatenate([labels + noise, scores], axis=-1).astype(np.float32)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(name: str, **arrays: Any) -> Path:
        np.savez(tmp_path / name, **arrays)
        return tmp_path / name

    return save


def imported(
    dataset: Dataset, path: Path, skeleton: str = "H36M17", **options: Any
) -> NDArray[np.float32]:
    given = {"cpn": KeypointFile(path, skeleton, **options)}
    return WithKeypoints(dataset, given).imported_keypoints()["cpn"].points


def test_entries_find_their_rows_by_item_in_any_order(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    order = np.random.default_rng(0).permutation(len(items))
    names = [*(items[row] for row in order), "of another dataset"]
    path = write("cpn.npz", items=np.array(names), keypoints=[*found[order], found[0] + 300])
    np.testing.assert_array_equal(imported(dataset, path), found)


def test_scores_come_beside_points_or_are_one(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    path = write("cpn.npz", items=items, keypoints=found[..., :2])
    points = imported(dataset, path)
    np.testing.assert_array_equal(points[..., :2], found[..., :2])
    assert (points[..., 2] == 1).all()
    path = write("scored.npz", items=items, keypoints=found[..., :2], scores=found[..., 2])
    np.testing.assert_array_equal(imported(dataset, path), found)


def test_a_file_without_names_must_have_every_row(
    dataset: Human36m, found: NDArray[np.float32], layout: Path, tmp_path: Path
) -> None:
    path = tmp_path / "cpn.npy"
    np.save(path, found)
    np.testing.assert_array_equal(imported(dataset, path), found)
    thinned = Human36m(layout, limit=2)
    with pytest.raises(DatasetError, match=r"has 9 rows, the dataset \d\. .*save an \.npz"):
        imported(thinned, path)


@pytest.mark.parametrize("form", ["list", "annotations"])
def test_coco_results_find_their_pictures(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], tmp_path: Path, form: str
) -> None:
    path = tmp_path / "results.json"
    points = [person.astype(float).ravel().tolist() for person in found]
    bad = (found[0] + 500).astype(float).ravel().tolist()
    pictures = [Path(item).name for item in items]
    if form == "list":
        entries = [
            {"file_name": f"images/{name}", "keypoints": person, "score": 0.9}
            for name, person in zip(pictures, points, strict=True)
        ]
        # A second person that the detector is less sure of, before and after.
        entries = [{**entries[0], "keypoints": bad, "score": 0.3}, *entries]
        entries.append({**entries[3], "keypoints": bad, "score": 0.2})
        path.write_text(json.dumps(entries))
    else:
        images = [{"id": 7 + i, "file_name": name} for i, name in enumerate(pictures)]
        entries = [{"image_id": 7 + i, "keypoints": person} for i, person in enumerate(points)]
        path.write_text(json.dumps({"images": images, "annotations": entries[::-1]}))
    np.testing.assert_allclose(imported(dataset, path), found, rtol=1e-6)


def test_rows_that_the_file_lacks_are_refused_or_have_no_keypoints(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    nan = found.copy()
    nan[4] = np.nan
    zero = found.copy()
    zero[4, :, :2] = 0
    unsure = found.copy()
    unsure[4, :, 2] = 0
    expected = found.copy()
    expected[4] = 0
    keep = np.arange(len(items)) != 4
    for name, arrays in {
        "left-out": {"items": np.array(items)[keep], "keypoints": found[keep]},
        "nan": {"items": items, "keypoints": nan},
        "zero": {"items": items, "keypoints": zero},
        "zero-2": {"items": items, "keypoints": zero[..., :2]},
        "unsure": {"items": items, "keypoints": unsure},
    }.items():
        path = write(f"{name}.npz", **arrays)
        with pytest.raises(DatasetError, match=r"of 1 of 9 rows \(first: .*cpn\.missing=invalid"):
            imported(dataset, path)
        points = imported(dataset, path, missing="invalid")
        assert not points[4].any(), name
        np.testing.assert_array_equal(points[..., :2], expected[..., :2])


def test_a_single_joint_that_was_not_found_has_score_0(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    found[2, 16] = np.nan
    points = imported(dataset, write("cpn.npz", items=items, keypoints=found))
    assert not points[2, 16].any()
    assert (points[2, :16, 2] > 0).all()


@pytest.mark.parametrize("fault", ["crop px", "unit", "other rows", "swapped clips"])
def test_keypoints_of_other_rows_or_another_frame_are_refused(
    dataset: Human36m, found: NDArray[np.float32], tmp_path: Path, fault: str
) -> None:
    moved = found.copy()
    if fault == "crop px":
        moved[..., :2] = moved[..., :2] * 2.5 + 400
    elif fault == "unit":
        moved[..., :2] = moved[..., :2] / 80 - 1
    elif fault == "other rows":
        moved = np.roll(moved + np.array([40, 30, 0]), 4, axis=0)
    else:
        moved[:3, :, :2] += 90  # the first clip only
    path = tmp_path / "cpn.npy"
    np.save(path, moved)
    with pytest.raises(DatasetError, match="must be px of the whole picture, and of these rows"):
        imported(dataset, path)


STANDING_COCO17 = np.array([
    [50, 10], [52, 8], [48, 8], [55, 10], [45, 10], [62, 25], [38, 25], [68, 45], [32, 45],
    [70, 63], [30, 63], [57, 65], [43, 65], [58, 90], [42, 90], [58, 115], [42, 115],
], dtype=np.float32)  # fmt: skip


def test_keypoints_in_another_order_of_as_many_joints_are_refused_by_its_name(
    dataset: Human36m,
) -> None:
    plan = dataset.plan()
    shifts = np.arange(len(plan), dtype=np.float32)[:, None, None]
    points = np.concatenate([STANDING_COCO17 + shifts, np.ones((len(plan), 17, 1))], axis=-1)
    labels = convert_keypoints(points[..., :2], "COCO17", "H36M17")
    plan = replace(plan, joints_2d_px=labels, valid=np.ones_like(plan.valid))
    there = np.ones(len(plan), dtype=bool)
    file = Path("cpn.npz")
    points = points.astype(np.float32)
    with pytest.raises(DatasetError, match=r"as H36M17 .* as COCO17 only 0%"):
        refuse_other_order(plan, points, there, "H36M17", file)
    swapped = points[:, get_skeleton("COCO17").swap]
    with pytest.raises(DatasetError, match="as left and right exchanged only 0%"):
        refuse_other_order(plan, swapped, there, "COCO17", file)
    for fine in (points, points + 4):
        refuse_other_order(plan, fine, there, "COCO17", file)
    some = np.arange(len(plan)) % 3 == 0  # a detector takes some for people from behind
    refuse_other_order(plan, np.where(some[:, None, None], swapped, points), there, "COCO17", file)


def test_a_keypoint_file_with_exchanged_sides_is_refused(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    swapped = found[:, get_skeleton("H36M17").swap]
    with pytest.raises(DatasetError, match="left and right exchanged only"):
        imported(dataset, write("cpn.npz", items=items, keypoints=swapped))


def test_frame_numbers_of_another_folder_are_not_taken_for_a_rows(tmp_path: Path) -> None:
    for name in ("hall/0001.png", "hall/0002.png"):
        write_picture(tmp_path / name, (40, 50), seed=1)
    folder = Folder(tmp_path)
    path = tmp_path / "results.json"

    def rows(*names: str) -> NDArray[np.float32]:
        entries = [
            {"file_name": name, "keypoints": [float(i + 1)] * 51} for i, name in enumerate(names)
        ]
        path.write_text(json.dumps(entries))
        return imported(folder, path, missing="invalid")[:, 0, 0]

    for same in ("hall/0002.jpg", "data/hall/0002.jpg", "0002.jpg", "0002"):
        assert rows(same).tolist() == [0, 1]
    assert rows("hall/0001.png", "street/0002.png").tolist() == [1, 0]
    with pytest.raises(DatasetError, match="none of its 1 names is a row"):
        rows("street/0001.png")


def test_content_identity_follows_the_keypoints_and_not_their_path(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    plain = dataset.content_identity()

    def identity(path: Path) -> dict[str, Any]:
        return WithKeypoints(dataset, {"cpn": KeypointFile(path, "H36M17")}).content_identity()

    first = identity(write("a.npz", items=items, keypoints=found))
    again = identity(write("b.npz", items=items[::-1], keypoints=found[::-1]))
    assert first == again
    assert {key: first[key] for key in plain} == plain
    found[0, 0, 0] += 0.25
    assert identity(write("a.npz", items=items, keypoints=found)) != first


def test_the_rest_is_the_dataset_behind(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    path = write("cpn.npz", items=items, keypoints=found)
    wrapped = WithKeypoints(dataset, {"cpn": KeypointFile(path, "H36M17")})
    assert isinstance(wrapped, Dataset)
    copy = pickle.loads(pickle.dumps(wrapped))
    for each in (wrapped, copy):
        assert (each.name, each.cpu_bound) == (dataset.name, dataset.cpu_bound)
        np.testing.assert_array_equal(each.load_image(3), dataset.load_image(3))
        assert set(each.imported_keypoints()) == {"cpn"}
        assert each.plan().index["item"].words() == items


def test_names_that_come_with_the_data_are_not_replaced(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], write: Write
) -> None:
    files = {"cpn": KeypointFile(write("cpn.npz", items=items, keypoints=found), "H36M17")}
    twice = WithKeypoints(WithKeypoints(dataset, files), files)
    with pytest.raises(DatasetError, match=r"cpn come with .* already"):
        twice.imported_keypoints()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"keypoints": 0}, "has no array 'items'"),
        ({"items": 0}, "has no array 'keypoints'"),
        ({"items": ["a", "b"], "keypoints": 0}, "has 2 items and 9 keypoints"),
        ({"items": ["a"] * 9, "keypoints": 0}, "several entries of 1 items, e.g. a"),
        ({"items": list("abcdefghi"), "keypoints": 0}, "none of its 9 names is a row"),
        ({"items": 0, "keypoints": np.zeros((9, 16, 3))}, r"shape \(M, 17, 2 or 3\), not"),
        ({"items": 0, "keypoints": np.array([{}] * 9)}, "cannot be read as keypoints"),
    ],
)
def test_files_of_another_shape_are_refused(
    dataset: Human36m,
    items: list[str],
    found: NDArray[np.float32],
    write: Write,
    arrays: dict[str, Any],
    message: str,
) -> None:
    whole = {"items": np.array(items), "keypoints": found}
    given = {key: whole[key] if isinstance(value, int) else value for key, value in arrays.items()}
    with pytest.raises(DatasetError, match=message):
        imported(dataset, write("cpn.npz", **given))


def test_coco_results_that_do_not_tell_whose_they_are_are_refused(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], tmp_path: Path
) -> None:
    path = tmp_path / "results.json"
    entry = {"file_name": items[0], "keypoints": found[0].astype(float).ravel().tolist()}
    for entries, message in (
        ([entry, entry], "several persons in .* no scores"),
        ([{**entry, "keypoints": [1.0] * 24}], "H36M17 means 51 numbers per person, it has 24"),
        ([{"file_name": "x"}], "no entries with keypoints"),
        ([{"keypoints": [1.0] * 51}], "cannot be read as keypoints"),
    ):
        path.write_text(json.dumps(entries))
        with pytest.raises(DatasetError, match=message):
            imported(dataset, path)


def test_missing_and_unknown_files_are_named_before_any_work(
    dataset: Human36m, tmp_path: Path
) -> None:
    with pytest.raises(DatasetError, match=r"there is no such file. .*keypoints\.cpn\.file"):
        imported(dataset, tmp_path / "no.npz")
    text = tmp_path / "cpn.txt"
    text.write_text("1 2 3")
    with pytest.raises(DatasetError, match=r"read from \.npz, \.npy, \.json files"):
        imported(dataset, text)
    with pytest.raises(DatasetError, match="'C P N' is no name"):
        WithKeypoints(dataset, {"C P N": KeypointFile(text, "H36M17")})


def test_a_missing_picture_is_still_the_datasets_own_error(
    dataset: Human36m, items: list[str], found: NDArray[np.float32], layout: Path, write: Write
) -> None:
    wrapped = WithKeypoints(
        dataset,
        {"cpn": KeypointFile(write("a.npz", items=items, keypoints=found), "H36M17")},
    )
    for picture in (layout / "images").rglob("*.jpg"):
        picture.unlink()
    with pytest.raises(FrameError):
        wrapped.load_image(0)
