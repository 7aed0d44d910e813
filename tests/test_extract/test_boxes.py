"""Box files of each format, and the box rules."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from cache import FrameStatus, project
from stages.extract.boxes.files import read_boxes, write_boxes
from stages.extract.boxes.rules import box_warning, refuse_unfit_boxes
from stages.extract.boxes.table import PICTURE, BoxTable, number_persons
from stages.extract.crops import PERSON_BOX_MM, BoxSource, box_for_row
from stages.extract.datasets import DatasetError, FrameError, build_dataset
from tests.test_extract.layouts.people import write_picture
from tests.test_extract.studio import write_layout

TABLE = BoxTable(
    files=("a.mp4", "b,c/1.jpg"),
    frames=np.array([3, PICTURE]),
    tracks=("0", "anna"),
    boxes_px=np.array([[1.25, 2, 30, 40], [0, 0, 5, 6]]),
    scores=np.array([0.5, 1.0]),
    found_by={"detector": "rtmo", "weights": "0a1b"},
)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_written_table_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "boxes.csv"
    write_boxes(path, TABLE, "posecache 0.1.0")
    back = read_boxes(path)
    assert (back.files, back.tracks, back.found_by) == (TABLE.files, TABLE.tracks, TABLE.found_by)
    for name in ("frames", "boxes_px", "scores"):
        np.testing.assert_array_equal(getattr(back, name), getattr(TABLE, name))
    assert path.read_text().splitlines()[:3] == [
        '# posecache boxes: {"detector": "rtmo", "weights": "0a1b"}',
        "# posecache 0.1.0",
        "file,frame,track,x1,y1,x2,y2,score",
    ]
    assert [entry.name for entry in tmp_path.iterdir()] == ["boxes.csv"]


def test_columns_may_be_few_and_in_any_order(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "y2,x1,y1,x2,file\n4,1,2,3,p.jpg\n")
    table = read_boxes(path)
    assert table.boxes_px.tolist() == [[1, 2, 3, 4]]
    assert (table.frames[0], table.tracks[0], table.scores[0]) == (PICTURE, "", 1)
    assert table.found_by is None


@pytest.mark.parametrize("wrapped", [False, True])
def test_json_has_the_same_keys(tmp_path: Path, wrapped: bool) -> None:
    boxes = [{"file": "a.mp4", "frame": 2, "track": 7, "x1": 1, "y1": 2, "x2": 3, "y2": 4}]
    content = {"found_by": {"detector": "x"}, "boxes": boxes} if wrapped else boxes
    table = read_boxes(write(tmp_path / "a.json", json.dumps(content)))
    assert (table.files, table.tracks, table.frames.tolist()) == (("a.mp4",), ("7",), [2])
    assert table.found_by == ({"detector": "x"} if wrapped else None)


def test_coco_results_are_corners_scores_and_picture_numbers(tmp_path: Path) -> None:
    results = [
        {"image_id": 785, "category_id": 1, "bbox": [10, 20, 30, 40], "score": 0.5},
        {"image_id": 785, "category_id": 3, "bbox": [0, 0, 1, 1], "score": 0.9},
    ]
    table = read_boxes(write(tmp_path / "a.json", json.dumps(results)))
    assert table.boxes_px.tolist() == [[10, 20, 40, 60]]
    assert (table.files, table.scores.tolist()) == (("785",), [0.5])


def test_coco_annotations_call_pictures_by_file_name(tmp_path: Path) -> None:
    content = {
        "images": [{"id": 5, "file_name": "x/5.jpg"}],
        "annotations": [
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "track_id": 9},
            {"image_id": 5, "category_id": 1, "bbox": [1, 2, 3, 4], "iscrowd": 1},
        ],
    }
    table = read_boxes(write(tmp_path / "a.json", json.dumps(content)))
    assert (table.files, table.tracks) == (("x/5.jpg",), ("9",))


def test_mot_files_count_frames_from_1_and_say_no_track_by_minus_1(tmp_path: Path) -> None:
    path = write(tmp_path / "det.txt", "1,2,10,20,30,40,0.9,-1,-1,-1\n3,-1,1,2,3,4,0.5,-1,-1,-1\n")
    table = read_boxes(path)
    assert table.frames.tolist() == [0, 2]
    assert table.boxes_px.tolist() == [[10, 20, 40, 60], [1, 2, 4, 6]]
    assert (table.tracks, table.files) == (("2", ""), ("", ""))


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,frame\n", r"columns x1, x2, y1, y2 are missing"),
        ("a.csv", "# c\nfile,x1,y1,x2,y2\n\na,1,2,3,4\nb,1,2,3,\n", r"line 5: no value for y2"),
        ("a.csv", "file,x1,y1,x2,y2\na,1,2,3,four\n", r"line 2: .*four"),
        ("a.csv", "file,x1,y1,x2,y2\na,1,2,3,nan\n", r"line 2: .*not finite"),
        ("a.csv", "file,x1,y1,x2,y2\na,9,2,3,4\n", r"line 2: .*ends before it starts"),
        ("a.csv", "file,frame,x1,y1,x2,y2\na,two,2,3,4,5\n", r"frame 'two' is not a whole number"),
        ("a.csv", "file,frame,x1,y1,x2,y2\na,-2,2,3,4,5\n", r"frame -2 is negative"),
        ("a.csv", "# posecache boxes: {\nfile,x1,y1,x2,y2\n", r"line 1: the header is not json"),
        ("a.csv", "file,x1,y1,x2,y2\n", r"holds no box"),
        ("a.json", "[1]", r"neither a list of boxes"),
        ("a.json", "{", r"is not json"),
        ("a.json", '[{"image_id": 1}]', r"not COCO's json of boxes: KeyError 'bbox'"),
        ("a.txt", "0,1,2,3,4,5,1\n", r"line 1: frame 0; MOT's frames count from 1"),
        ("a.txt", "1,2,3\n", r"line 1: not frame,id"),
        ("a.xml", "", r"must be a \.csv, \.json or \.txt"),
    ],
)
def test_what_cannot_be_read_is_named_with_its_place(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_boxes(write(tmp_path / name, text))


def test_persons_without_tracks_are_numbered_by_score() -> None:
    frames, scores = [4, 4, 2, 4, 2], [0.5, 0.9, 0.1, 0.5, 0.1]
    boxes = np.array([[5, 0, 9, 9], [0, 0, 9, 9], [3, 0, 9, 9], [1, 0, 9, 9], [2, 0, 9, 9]])
    assert number_persons(frames, scores, boxes).tolist() == [2, 0, 1, 1, 0]
    assert number_persons([], [], np.zeros((0, 4))).tolist() == []


@pytest.fixture
def studio(tmp_path: Path) -> Path:
    write_layout(tmp_path)
    return tmp_path


def test_each_box_rule_gives_its_own_box(studio: Path) -> None:
    plan = build_dataset("human36m", root=studio).plan()
    boxes = {source: box_for_row(plan, 0, source) for source in get_args(BoxSource)}
    height, width = plan.image_size[0]
    assert boxes["full"].tolist() == [0, 0, width, height]
    assert plan.boxes_px is not None
    assert plan.joints_3d_mm is not None
    np.testing.assert_allclose(boxes["imported"], plan.boxes_px[0])
    np.testing.assert_array_equal(boxes["detector"], boxes["imported"])
    points = plan.joints_2d_px[0][plan.valid[0]]
    margin = 0.10 * np.ptp(points, axis=0).max()
    np.testing.assert_allclose(
        boxes["gt2d"], [*points.min(axis=0) - margin, *points.max(axis=0) + margin], rtol=1e-6
    )
    camera = plan.cameras[plan.index["camera"].codes[0]]
    corners = plan.joints_3d_mm[0, 0] + PERSON_BOX_MM
    pinhole = replace(camera, distortion=(0.0,) * 5, distortion_model="none")
    np.testing.assert_allclose(boxes["gt3d"], project(corners, pinhole).reshape(4), rtol=1e-6)


@pytest.mark.parametrize("source", ["gt3d", "gt2d", "imported", "detector"])
def test_a_box_rule_without_its_data_is_a_bad_row_that_says_what_to_choose(
    studio: Path, source: BoxSource
) -> None:
    plan = build_dataset("human36m", root=studio).plan()
    bare = replace(plan, joints_3d_mm=None, boxes_px=None, valid=np.zeros_like(plan.valid))
    with pytest.raises(FrameError, match=r"choose|no valid 2D joint") as caught:
        box_for_row(bare, 0, source)
    assert caught.value.status in (FrameStatus.BAD_BOX, FrameStatus.NO_PERSON)


def test_rules_that_leak_are_warned_of_and_others_are_not() -> None:
    warned = {source: box_warning(source) for source in get_args(BoxSource)}
    assert [source for source, text in warned.items() if text] == ["gt3d"]
    assert "how far away the person is" in str(warned["gt3d"])


@pytest.mark.parametrize(
    ("source", "lacking"),
    [("gt3d", "3D labels"), ("gt2d", "2D labels"), ("imported", "boxes"), ("detector", "boxes")],
)
def test_a_rule_that_fits_no_row_is_refused_before_any_work(
    tmp_path: Path, source: BoxSource, lacking: str
) -> None:
    write_picture(tmp_path / "1.png", (40, 50), seed=1)
    dataset = build_dataset("folder", root=tmp_path)
    refuse_unfit_boxes(dataset, "full")
    with pytest.raises(DatasetError, match=f"folder has no {lacking}, which .*={source} needs"):
        refuse_unfit_boxes(dataset, source)


def test_boxes_count_as_a_detectors_only_where_their_file_says_so(tmp_path: Path) -> None:
    write_picture(tmp_path / "1.png", (40, 50), seed=1)
    table = replace(TABLE, files=("1.png",) * 2, frames=np.full(2, PICTURE))
    write_boxes(tmp_path / "found.csv", table)
    write_boxes(tmp_path / "drawn.csv", replace(table, found_by=None))
    for boxes, fits in (("found.csv", True), ("drawn.csv", False)):
        dataset = build_dataset("folder", root=tmp_path, boxes=boxes)
        refuse_unfit_boxes(dataset, "imported")
        if fits:
            refuse_unfit_boxes(dataset, "detector")
            continue
        with pytest.raises(DatasetError, match=r"set crop\.box_source=imported"):
            refuse_unfit_boxes(dataset, "detector")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("separator", [",", ";"])
def test_a_spreadsheets_csv_is_read(tmp_path: Path, encoding: str, separator: str) -> None:
    lines = ["file, frame,track,x1,y1,x2,y2, score", "wälk.mp4,3,7,1,2,3.5,4,0.25"]
    path = tmp_path / "a.csv"
    path.write_bytes("\r\n".join(lines).replace(",", separator).encode(encoding))
    table = read_boxes(path)
    assert (table.files, table.frames.tolist(), table.tracks) == (("wälk.mp4",), [3], ("7",))
    assert (table.boxes_px.tolist(), table.scores.tolist()) == ([[1, 2, 3.5, 4]], [0.25])


def test_names_that_look_like_comments_are_read_back(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_boxes(path, replace(TABLE, files=("#1.mp4", "# 2.jpg")), "a comment")
    assert read_boxes(path).files == ("#1.mp4", "# 2.jpg")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "file,x1,y1,x2,y2\na.jpg,1,5,1,5,9,5,9,5\n", "line 2: 9 values for 5 columns"),
        ("a.csv", "file,track_id,x1,y1,x2,y2\na.jpg,7,1,2,3,4\n", "line 2: track_id is none of"),
        ("a.csv", "file,x1,y1,x2,y2,x1\na.jpg,1,2,3,4,2\n", "a column is there twice"),
        ("a.json", '[{"file": "a.jpg", "conf": 1, "x1": 1}]', "box 0: conf is none of"),
        ("a.json", '[{"file": "a", "frame": 1.5, "x1": 1, "y1": 1, "x2": 2, "y2": 2}]', "1.5 is"),
        ("a.txt", "1,2.5,1,2,3,4,1\n", "line 1: id 2.5; MOT's ids are whole numbers"),
    ],
)
def test_what_would_be_lost_or_misread_is_refused(
    tmp_path: Path, name: str, text: str, message: str
) -> None:
    with pytest.raises(DatasetError, match=message):
        read_boxes(write(tmp_path / name, text))


def test_long_ids_stay_apart_and_unknown_ones_are_no_track(tmp_path: Path) -> None:
    mot = write(tmp_path / "a.txt", "1,1000001,1,2,3,4,1\n1,1000002,1,2,3,4,1\n")
    assert read_boxes(mot).tracks == ("1000001", "1000002")
    coco = [{"image_id": 1, "track_id": None, "bbox": [1, 2, 3, 4]}]
    assert read_boxes(write(tmp_path / "a.json", json.dumps(coco))).tracks == ("",)
