"""Folders of pictures and videos: sequences, persons, boxes, and what is wrong with them."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.extract.boxes.files import write_boxes
from stages.extract.boxes.table import BoxTable
from stages.extract.crops import box_for_row
from stages.extract.datasets import DatasetError
from stages.extract.datasets.folder import Folder
from stages.extract.datasets.folder_sources import find_sources, natural_key
from stages.extract.datasets.picture_files import PictureFiles, hash_pictures
from stages.extract.datasets.pictures import picture_size, read_picture
from tests.test_extract.layouts.folder import (
    NUM_FRAMES,
    PICTURE_SIZE,
    VIDEO_SIZE,
    write_folder,
    write_folder_with_csv,
    write_folder_with_results,
    write_video,
)
from tests.test_extract.layouts.people import picture, write_picture


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_folder_with_csv(tmp_path)
    return tmp_path


def write_csv(root: Path, *lines: str) -> str:
    text = "\n".join(["file,frame,track,x1,y1,x2,y2,score", *lines]) + "\n"
    (root / "own.csv").write_text(text)
    return "own.csv"


def test_videos_and_folders_of_pictures_are_sequences_in_natural_order(root: Path) -> None:
    sources = find_sources(root)
    assert [source.name for source in sources] == [".", "hall", "out/walk.mp4"]
    assert [source.num_frames for source in sources] == [1, 3, NUM_FRAMES]
    assert sources[1].pictures == ("hall/1.jpg", "hall/2.jpg", "hall/10.jpg")


def test_linked_folders_are_read_and_loops_end(
    root: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "linked").symlink_to(root / "hall")
    write_picture(elsewhere / "own" / "1.png", (40, 50), seed=1)
    (elsewhere / "own" / "loop").symlink_to(elsewhere)
    sources = find_sources(elsewhere)
    assert [(source.name, source.num_frames) for source in sources] == [("linked", 3), ("own", 1)]


def test_a_folder_that_cannot_be_listed_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = os.scandir

    def scandir(folder: str) -> object:
        if str(folder).endswith("hall"):
            raise PermissionError(13, "Permission denied", folder)
        return listed(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DatasetError, match=r"hall cannot be listed: Permission denied"):
        find_sources(root)


def test_tracks_with_slashes_are_refused_since_clips_would_merge(root: Path) -> None:
    boxes = write_csv(root, "hall/1.jpg,,a/b,1,1,9,9,1")
    with pytest.raises(DatasetError, match="track 'a/b' has a slash"):
        Folder(root, boxes=boxes).plan()


def test_names_are_ordered_by_the_value_of_their_numbers() -> None:
    names = ["b", "a10", "a2", "a02", "2", "10", "a"]
    assert sorted(names, key=natural_key) == ["2", "10", "a", "a02", "a2", "a10", "b"]


def test_without_boxes_every_frame_is_a_row_to_be_used_whole(root: Path) -> None:
    plan = Folder(root).plan()
    assert plan.index["item"].words() == [
        "0007.png#0", "hall/1.jpg#0", "hall/2.jpg#0", "hall/10.jpg#0",
        *(f"out/walk.mp4#{i}#0" for i in range(NUM_FRAMES)),
    ]  # fmt: skip
    assert plan.index["frame"].codes.tolist() == [0, 0, 1, 2, *range(NUM_FRAMES)]
    assert plan.boxes_px is None
    assert not plan.valid.any()
    height, width = VIDEO_SIZE
    assert box_for_row(plan, len(plan) - 1, "full").tolist() == [0, 0, width, height]
    assert tuple(plan.image_size[0]) == PICTURE_SIZE


def test_every_person_of_every_sequence_is_a_clip(root: Path) -> None:
    plan = Folder(root, boxes="people.csv").plan()
    clips = plan.index["clip"].words()
    assert list(dict.fromkeys(clips)) == ["hall/anna", "out/walk.mp4/ben", "out/walk.mp4/anna"]
    anna = plan.index["clip"].rows_of("out/walk.mp4/anna")
    assert plan.index["frame"].codes[anna].tolist() == [1, 2, 4]
    assert plan.boxes_px is not None
    assert plan.boxes_px[anna].tolist() == [[10 + i, 5, 40 + i, 60] for i in (1, 2, 4)]
    assert plan.index["item"].words()[0] == "hall/2.jpg#anna"


def test_rows_show_the_frame_of_their_box(root: Path) -> None:
    dataset = Folder(root, boxes="people.csv")
    plan = dataset.plan()
    for row, item in enumerate(plan.index["item"].words()):
        if item.startswith("out/walk.mp4"):
            seed = int(item.split("#")[1])
            error = np.abs(dataset.load_image(row).astype(int) - picture(VIDEO_SIZE, seed))
            others = np.abs(dataset.load_image(row).astype(int) - picture(VIDEO_SIZE, seed + 1))
            assert error.mean() < 10 < others.mean()


def test_frames_that_nobody_boxed_are_counted_and_named(root: Path) -> None:
    notes = Folder(root, boxes="people.csv").content_identity()["notes"]
    assert notes == ["2 of 10 frames have no person box and so no row: 0007.png, hall/1.jpg."]
    lines = [f"out/walk.mp4,{i},a,1,2,30,40,1" for i in range(NUM_FRAMES)]
    lines += [f"hall/{i}.jpg,,a,1,2,30,40,1" for i in (1, 2, 10)]
    everyone = write_csv(root, *lines, "0007.png,,a,1,2,30,40,1")
    assert "notes" not in Folder(root, boxes=everyone).content_identity()


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("out/walk.mp4,6,a,1,2,3,4,1", r"1 of 1 boxes .*: out/walk\.mp4 frame 6\."),
        ("out/run.mp4,0,a,1,2,3,4,1", r"out/run\.mp4 frame 0\. It has .*walk\.mp4 \(6 frames\)"),
        ("hall/3.jpg,,a,1,2,3,4,1", r"hall/3\.jpg\."),
        ("hall/2.jpg,4,a,1,2,3,4,1", r"hall/2\.jpg frame 4\."),
        ("out/walk.mp4,,a,1,2,3,4,1", r"out/walk\.mp4\."),
        (".hidden/3.jpg,,a,1,2,3,4,1", r"\.hidden/3\.jpg\."),
    ],
)
def test_boxes_of_frames_that_do_not_exist_are_an_error(root: Path, line: str, named: str) -> None:
    with pytest.raises(DatasetError, match=named):
        Folder(root, boxes=write_csv(root, line)).plan()


def test_two_boxes_of_one_person_in_one_frame_are_an_error(root: Path) -> None:
    line = "out/walk.mp4,2,a,1,2,3,4,1"
    with pytest.raises(DatasetError, match=r"walk\.mp4 frame 2 has two boxes of track 'a'"):
        Folder(root, boxes=write_csv(root, line, line)).plan()


def test_some_boxes_with_and_some_without_track_are_an_error(root: Path) -> None:
    lines = ["out/walk.mp4,2,a,1,2,3,4,1", "out/walk.mp4,3,,1,2,3,4,1"]
    with pytest.raises(DatasetError, match="1 of 2 boxes have no track"):
        Folder(root, boxes=write_csv(root, *lines)).plan()


def test_picture_numbers_of_coco_results_find_their_pictures(tmp_path: Path) -> None:
    write_folder_with_results(tmp_path)
    plan = Folder(tmp_path, boxes="results.json").plan()
    assert plan.index["item"].words() == [
        "0007.png#0", "0007.png#1", "hall/2.jpg#0", "hall/10.jpg#0", "hall/2.jpg#1",
        "hall/10.jpg#1",
    ]  # fmt: skip
    assert plan.boxes_px is not None
    assert plan.boxes_px[0].tolist() == [11, 5, 41, 55]
    sure = Folder(tmp_path, boxes="results.json", min_score=0.5).plan()
    assert sure.index["person"].words() == ["0"] * 3


def test_a_picture_number_that_two_pictures_have_is_no_name(tmp_path: Path) -> None:
    write_folder_with_results(tmp_path)
    write_picture(tmp_path / "more" / "010.jpg", PICTURE_SIZE, seed=3)
    with pytest.raises(DatasetError, match="2 of 6 boxes"):
        Folder(tmp_path, boxes="results.json").plan()


def test_mot_files_belong_to_the_only_sequence(tmp_path: Path) -> None:
    (tmp_path / "det.txt").write_text("2,7,10,20,30,40,0.9\n1,7,10,20,30,40,0.9\n")
    for number in (1, 2):
        write_picture(tmp_path / "img1" / f"{number:06d}.jpg", PICTURE_SIZE, seed=number)
    plan = Folder(tmp_path, boxes="det.txt").plan()
    assert plan.index["item"].words() == ["img1/000001.jpg#7", "img1/000002.jpg#7"]
    write_video(tmp_path / "walk.mp4")
    with pytest.raises(DatasetError, match=r"2 of 2 boxes .*the only video frame"):
        Folder(tmp_path, boxes="det.txt").plan()


def test_stride_and_limit_thin_each_clip(root: Path) -> None:
    plan = Folder(root, boxes="people.csv", stride=2).plan()
    ben = plan.index["clip"].rows_of("out/walk.mp4/ben")
    assert plan.index["frame"].codes[ben].tolist() == [0, 2, 4]
    assert len(Folder(root, limit=4).plan()) == 4


def test_who_found_the_boxes_is_known_from_their_file(root: Path) -> None:
    assert Folder(root).box_origin is None
    assert Folder(root, boxes="people.csv").box_origin == "imported"
    table = BoxTable(
        ("hall/1.jpg",), np.array([-1]), ("0",), np.ones((1, 4)), np.ones(1), {"detector": "x"}
    )
    write_boxes(root / "found.csv", table)
    assert Folder(root, boxes="found.csv").box_origin == "detector"


def test_folders_without_anything_and_broken_videos_are_named(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="is not a folder"):
        Folder(tmp_path / "none").plan()
    with pytest.raises(DatasetError, match=r"holds no pictures .* and no videos"):
        Folder(tmp_path).plan()
    write_folder(tmp_path)
    (tmp_path / "a.mp4").write_text("text")
    (tmp_path / "b.avi").write_text("text")
    with pytest.raises(DatasetError, match=r"2 videos .*\n.*a\.mp4.*\n.*b\.avi"):
        Folder(tmp_path).plan()
    with pytest.raises(DatasetError, match="Split 'all' is unknown"):
        Folder(tmp_path, split="all")  # type: ignore[arg-type]


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_sizes_are_those_of_pictures_turned_upright(
    tmp_path: Path, order: str, orientation: int
) -> None:
    plain = cv2.imencode(".jpg", picture(PICTURE_SIZE, 1))[1].tobytes()
    marks = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8)
    entries = struct.pack(f"{order}HHIHH", 0x0106, 3, 1, 2, 0)
    entries += struct.pack(f"{order}HHIHH", 0x0112, 3, 1, orientation, 0)
    tiff = marks + struct.pack(f"{order}H", 2) + entries + struct.pack(f"{order}I", 0)
    segment = b"Exif\0\0" + tiff
    exif = b"\xff\xe1" + struct.pack(">H", len(segment) + 2) + segment
    path = tmp_path / "a.jpg"
    path.write_bytes(plain[:2] + exif + plain[2:])
    assert read_picture(path).shape[:2] == picture_size(path)
    assert picture_size(path) == (PICTURE_SIZE if orientation < 5 else PICTURE_SIZE[::-1])


def test_real_detections_of_pictures_are_boxes_of_their_persons(test_data: Path) -> None:
    root = test_data / "mmpose-samples" / "coco"
    dataset = Folder(root, boxes="test_coco_det_AP_H_56.json", min_score=0.5)
    plan = dataset.plan()
    annotated = json.loads((root / "test_coco.json").read_text())["annotations"]
    assert plan.boxes_px is not None
    persons = [a["bbox"] for a in annotated if a["image_id"] == 785]
    row = plan.index["item"].words().index("000000000785.jpg#0")
    x, y, width, height = persons[0]
    np.testing.assert_allclose(plan.boxes_px[row], [x, y, x + width, y + height], atol=16)
    assert dataset.load_image(row).shape == (*plan.image_size[row], 3)


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".PNG"])
def test_other_formats_of_pictures_are_rows_with_their_size(tmp_path: Path, suffix: str) -> None:
    write_picture(tmp_path / f"1{suffix}", (30, 44), seed=0)
    dataset = Folder(tmp_path)
    assert dataset.plan().image_size.tolist() == [[30, 44]]
    assert dataset.load_image(0).shape == (30, 44, 3)


def test_a_replaced_video_is_noticed_wherever_it_is(tmp_path: Path) -> None:
    pictures = PictureFiles.from_paths(
        [f"{number}.mp4" for number in range(90)], np.zeros(90, dtype=np.int32)
    )
    for name in pictures.files:
        (tmp_path / name).write_bytes(b"a video" + name.encode())
    before = hash_pictures(tmp_path, pictures)
    assert hash_pictures(tmp_path, pictures) == before
    for name in pictures.files:
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content + b"!")
        assert hash_pictures(tmp_path, pictures) != before, name
        (tmp_path / name).write_bytes(content)
