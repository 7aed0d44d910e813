from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from stages.extract.boxes.files import read_boxes
from stages.extract.boxes.journal import Journal
from stages.extract.datasets.folder import Folder
from tests.test_extract.layouts.folder import write_video
from tests.test_pipeline.commands import CommandLine

SIZE = (64, 96)
calls: list[int] = []


def bright_blocks(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    """A person detector: everything that is nearly white."""
    calls.append(1)
    mask = (picture.min(axis=2) > 200).astype(np.uint8)
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    return np.array([[x, y, x + w, y + h, 0.9] for x, y, w, h, _area in stats[1:]]).reshape(-1, 5)


DETECTOR = f"people.detector={__name__}:bright_blocks"


def write_walkers(root: Path, num_frames: int = 12) -> None:
    """Pictures of two blocks that walk towards each other in two rows."""
    root.mkdir()
    for frame in range(num_frames):
        picture = np.zeros((*SIZE, 3), dtype=np.uint8)
        picture[4:30, 3 * frame : 3 * frame + 12] = 255
        picture[34:60, 80 - 3 * frame : 92 - 3 * frame] = 255
        (root / f"{frame}.png").write_bytes(cv2.imencode(".png", picture)[1].tobytes())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    calls.clear()
    write_walkers(tmp_path / "clip")
    return tmp_path / "clip"


def run(posecache: CommandLine, folder: Path, *options: str) -> Any:
    out = folder.parent / "people.csv"
    return posecache("find-people", str(folder), "--out", str(out), "-s", DETECTOR, *options)


def test_found_people_become_rows_of_the_folder(folder: Path, posecache: CommandLine) -> None:
    ended = run(posecache, folder)
    assert ended.code == 0, ended.err
    out = folder.parent / "people.csv"
    assert "24 boxes in 2 tracks and 12 frames (0 boxes left out)" in ended.out
    header = out.read_text().splitlines()
    assert json.loads(header[0].split("boxes: ")[1])["detector"].endswith(":bright_blocks")
    assert header[1].startswith("# posecache ")
    assert '"max_gap":15' in header[1]
    assert not out.with_name("people.csv.journal").exists()
    dataset = Folder(folder, boxes=str(out))
    plan = dataset.plan()
    assert dataset.box_origin == "detector"
    assert plan.index["clip"].words() == ["./0"] * 12 + ["./1"] * 12
    assert plan.boxes_px is not None
    assert plan.boxes_px[5].tolist() == [15, 4, 27, 30]


def test_the_contact_sheet_shows_the_boxes(folder: Path, posecache: CommandLine) -> None:
    run(posecache, folder)
    sheet = cv2.imread(str(folder.parent / "people.png"))
    assert sheet is not None
    assert sheet.shape == (3 * 262, 4 * 360, 3)
    tile = sheet[22:262, :360].astype(int)
    coloured = (tile.max(axis=2) - tile.min(axis=2)) > 60
    scale = 360 / SIZE[1]
    assert coloured[int(4 * scale), int(2 * scale) : int(10 * scale)].mean() > 0.9


def test_a_stopped_search_goes_on_and_ends_the_same(
    folder: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(posecache, folder)
    out = folder.parent / "people.csv"
    undisturbed = out.read_text().splitlines()
    out.unlink()
    calls.clear()
    add = Journal.add

    def failing(self: Journal, source: str, frame: int, found: Any) -> None:
        if frame == 7:
            raise RuntimeError("planted")
        add(self, source, frame, found)

    monkeypatch.setattr(Journal, "add", failing)
    assert run(posecache, folder).code == 1
    monkeypatch.undo()
    journal = out.with_name("people.csv.journal")
    journal.write_text(journal.read_text() + '[".", 7, [[1, 2')
    assert (not out.exists(), len(calls)) == (True, 8)
    assert run(posecache, folder).code == 0
    assert len(calls) == 8 + 5
    again = out.read_text().splitlines()
    assert again[:1] + again[2:] == undisturbed[:1] + undisturbed[2:]  # without the date


def test_a_journal_of_another_search_is_not_used(folder: Path, posecache: CommandLine) -> None:
    journal = folder.parent / "people.csv.journal"
    journal.write_text('{"journal_of": {"stride": 3}}\n[".", 0, [[0, 0, 9, 9, 1]]]\n')
    run(posecache, folder)
    assert len(calls) == 12


def test_frames_that_cannot_be_read_are_counted(folder: Path, posecache: CommandLine) -> None:
    (folder / "5.png").write_bytes(b"\x89PNG\r\n\x1a\n cut")
    ended = run(posecache, folder, "--json")
    report = json.loads(ended.out)
    assert report["bad_frames"] == {"truncated": 1}
    assert (report["boxes"], report["tracks"]) == (22, 2)


def test_pictures_that_are_no_sequence_have_persons_by_score(
    folder: Path, posecache: CommandLine
) -> None:
    report = json.loads(run(posecache, folder, "-s", "people.link=none", "--json").out)
    assert report["boxes"] == 24
    assert set(read_boxes(folder.parent / "people.csv").tracks) == {"0", "1"}


def test_a_folder_without_anybody_has_an_empty_box_file(
    tmp_path: Path, posecache: CommandLine
) -> None:
    (tmp_path / "dark").mkdir()
    cv2.imwrite(str(tmp_path / "dark" / "1.png"), np.zeros((*SIZE, 3), dtype=np.uint8))
    report = json.loads(run(posecache, tmp_path / "dark", "--json").out)
    assert (report["boxes"], report["sheet"]) == (0, None)


def test_videos_are_searched_with_a_stride(tmp_path: Path, posecache: CommandLine) -> None:
    calls.clear()
    write_video(tmp_path / "videos" / "a.mp4")
    assert run(posecache, tmp_path / "videos", "-s", "people.stride=4").code == 0
    assert len(calls) == 2


def test_without_a_detector_the_settings_are_named(folder: Path, posecache: CommandLine) -> None:
    ended = posecache("find-people", str(folder))
    assert ended.code == 2
    assert "people.config" in ended.err
    ended = posecache("find-people", str(folder), "-s", "people.config=mmpose:x.py")
    assert (ended.code, "--set people.weights=FILE" in ended.err) == (2, True)
    ended = posecache("find-people", str(folder), "-s", "people.detector=nowhere:f")
    assert (ended.code, "cannot be imported" in ended.err) == (3, True)


@pytest.mark.slow
def test_the_box_rule_of_a_store_says_that_a_detector_found_the_people(
    folder: Path, posecache: CommandLine
) -> None:
    run(posecache, folder)
    store = [
        "--dataset", "folder", "--detector", "synthetic", "-s", f"dataset.root={folder}",
        "-s", f"data_root={folder.parent / 'data'}", "-s", "crop.flip=false",
    ]  # fmt: skip
    boxes = ["-s", f"dataset.options.boxes={folder.parent / 'people.csv'}"]
    ended = posecache("extract", *store, *boxes, "-s", "crop.box_source=detector", "--dry-run")
    assert ended.code == 0, ended.err
    assert "found by a person detector" in ended.out
    assert "24 of 24 frames" in ended.out
    ended = posecache("extract", *store, "-s", "crop.box_source=detector", "--dry-run")
    assert ended.code == 3
    assert "folder has no boxes" in ended.err


def test_boxes_are_not_written_among_the_pictures(folder: Path, posecache: CommandLine) -> None:
    ended = posecache("find-people", str(folder), "--out", str(folder / "p.csv"), "-s", DETECTOR)
    assert ended.code == 3
    assert "Give --out a place outside" in ended.err
    assert not (folder / "p.csv").exists()
    assert not calls
