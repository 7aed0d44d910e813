"""`posecache find-people` with a detector of the user's as an ONNX file."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from stages.extract.boxes.files import read_boxes
from tests.test_extract.onnx_networks import yolov8
from tests.test_pipeline.commands import CommandLine


def write_walk(folder: Path) -> None:
    """Pictures of a red block that moves by 4 px from frame to frame."""
    folder.mkdir()
    for frame in range(6):
        picture = np.full((128, 192, 3), 114, dtype=np.uint8)
        picture[40:100, 20 + 4 * frame : 80 + 4 * frame] = (0, 0, 255)  # BGR
        cv2.imwrite(str(folder / f"{frame}.png"), picture)


def test_an_onnx_file_finds_the_people_of_a_folder(tmp_path: Path, posecache: CommandLine) -> None:
    write_walk(tmp_path / "clip")
    network = yolov8(tmp_path / "detector.onnx")
    out = tmp_path / "people.csv"
    command = ["find-people", str(tmp_path / "clip"), "--out", str(out), "--json"]
    ended = posecache(*command, "-s", f"people.onnx={network}")
    assert ended.code == 0, ended.err
    assert (json.loads(ended.out)["boxes"], json.loads(ended.out)["tracks"]) == (6, 1)
    table = read_boxes(out)
    np.testing.assert_allclose(table.boxes_px[5], [40, 40, 100, 100], atol=2)
    assert table.found_by is not None
    assert table.found_by["detector"] == "onnx"
    assert table.found_by["options"]["channels"] == "rgb"


def test_what_is_wrong_with_the_file_is_one_line(tmp_path: Path, posecache: CommandLine) -> None:
    write_walk(tmp_path / "clip")
    command = ["find-people", str(tmp_path / "clip"), "--out", str(tmp_path / "people.csv")]
    ended = posecache(*command, "-s", "people.onnx=none.onnx")
    assert (ended.code, ended.err.count("\n"), "Check people.onnx" in ended.err) == (3, 1, True)
    ended = posecache(*command, "-s", "people.onnx=a.onnx", "-s", "people.detector=a:b")
    assert (ended.code, "exclude each other" in ended.err) == (2, True)
    ended = posecache(*command, "-s", "people.onnx=a.onnx", "-s", "people.onnx_options.mean_=1")
    assert (ended.code, "people.onnx_options.mean_" in ended.err) == (2, True)
