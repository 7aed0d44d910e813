"""Overlays of awkward inputs: every one has a file of its own, its speed and its proportions."""

from __future__ import annotations

import csv
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.predict.film import Film
from tests.test_pipeline.commands import CommandLine
from tests.test_predict.conftest import Place, numbers

BOX = [20, 20, 200, 240]


@pytest.fixture(scope="module")
def picture(place: Place) -> np.ndarray:
    return place.dataset.load_image(place.test_rows[0])


def film(path: Path, pictures: list[np.ndarray]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with Film(path, fps=10) as written:
        for picture in pictures:
            written.add(picture)


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture[..., ::-1])


def predict(
    posecache: CommandLine, place: Place, given: Path, out: Path, *words: str
) -> tuple[dict[str, np.ndarray], list[str]]:
    ended = posecache(
        *("predict", str(given), "--run", str(place.run), "--out", str(out), "--json"),
        *("-s", "predict.overlay_height=120", "-s", "predict.pictures=rendered", *words),
    )
    assert ended.code == 0, ended.err
    named = [Path(file).relative_to(out).as_posix() for file in json.loads(ended.out)["files"]]
    there = [path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()]
    assert sorted(named) == sorted(there)
    return numbers(out / "poses.npz"), [name for name in named if "-3d." in name]


def write_boxes(path: Path, rows: list[list[object]]) -> Path:
    with path.open("w", newline="") as file:
        header = ["file", "frame", "track", "x1", "y1", "x2", "y2", "score"]
        csv.writer(file).writerows([header, *rows])
    return path


def read_film(path: Path) -> tuple[list[np.ndarray], Fraction]:
    with av.open(str(path)) as container:
        rate = container.streams.video[0].average_rate
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    return frames, rate


def test_inputs_that_differ_in_their_suffix_or_after_a_hash_have_an_overlay_each(
    place: Place, posecache: CommandLine, picture: np.ndarray, tmp_path: Path
) -> None:
    for name in ("a.png", "a.jpg", "b#1.png", "b#2.png", "c.png"):
        save(tmp_path / "in" / name, picture)
    for name in ("w.mp4", "w.m4v"):
        film(tmp_path / "in" / name, [picture])
    _, overlays = predict(posecache, place, tmp_path / "in", tmp_path / "out")
    assert sorted(overlays) == sorted(
        [
            *("a.png-3d.png", "a.jpg-3d.png", "b#1-3d.png", "b#2-3d.png", "c-3d.png"),
            *("w.mp4-3d.mp4", "w.m4v-3d.mp4"),
        ]
    )


def test_a_dot_in_the_name_of_a_folder_is_part_of_it(
    place: Place, posecache: CommandLine, picture: np.ndarray, tmp_path: Path
) -> None:
    for name in ("hall.v1/ü 1.png", "hall.v2/1.png"):
        save(tmp_path / "in" / name, picture)
    film(tmp_path / "in" / "hall.mp4", [picture])
    words = ("-s", "predict.overlay=video")
    _, overlays = predict(posecache, place, tmp_path / "in", tmp_path / "out", *words)
    assert sorted(overlays) == ["hall-3d.mp4", "hall.v1-3d.mp4", "hall.v2-3d.mp4"]


def test_a_film_shows_frames_without_a_person_too_and_runs_as_fast_as_the_video(
    place: Place, posecache: CommandLine, picture: np.ndarray, tmp_path: Path
) -> None:
    film(tmp_path / "w.mp4", [np.full_like(picture, 30 * number) for number in range(8)])
    boxes = write_boxes(
        tmp_path / "b.csv", [["w.mp4", number, "a", *BOX, 1] for number in (0, 1, 6)]
    )
    _, (name,) = predict(
        posecache, place, tmp_path / "w.mp4", tmp_path / "out", "--boxes", str(boxes)
    )
    frames, rate = read_film(tmp_path / "out" / name)
    assert rate == 10
    assert len(frames) == 7
    shown = [float(frame[:8, :8].mean()) for frame in frames]
    np.testing.assert_allclose(shown, [30 * number for number in range(7)], atol=12)


def test_a_stride_takes_the_same_frames_of_all_persons(
    place: Place, posecache: CommandLine, picture: np.ndarray, tmp_path: Path
) -> None:
    film(tmp_path / "w.mp4", [picture] * 8)
    rows = [["w.mp4", number, "a", *BOX, 1] for number in range(8)]
    rows += [["w.mp4", number, "b", *BOX, 1] for number in range(1, 8)]
    boxes = write_boxes(tmp_path / "b.csv", rows)
    words = ("--boxes", str(boxes), "-s", "predict.stride=3")
    found, (name,) = predict(posecache, place, tmp_path / "w.mp4", tmp_path / "out", *words)
    assert found["frame"].tolist() == [0, 3, 6, 3, 6]
    np.testing.assert_allclose(found["time_s"], [0, 0.3, 0.6, 0.3, 0.6])
    frames, rate = read_film(tmp_path / "out" / name)
    assert len(frames) == 3
    assert float(rate) == pytest.approx(10 / 3, rel=1e-3)


def test_no_box_in_the_chosen_frames_is_an_error(
    place: Place, posecache: CommandLine, picture: np.ndarray, tmp_path: Path
) -> None:
    film(tmp_path / "w.mp4", [picture] * 3)
    boxes = write_boxes(tmp_path / "b.csv", [["w.mp4", 1, "a", *BOX, 1]])
    ended = posecache(
        *("predict", str(tmp_path / "w.mp4"), "--run", str(place.run), "--boxes", str(boxes)),
        *("--out", str(tmp_path / "out"), "-s", "predict.stride=2"),
    )
    assert ended.code == 3
    assert "no box is in a frame whose number is a multiple of 2" in ended.err


def test_pictures_keep_their_proportions_in_a_film_that_begins_with_a_bad_one(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    square = np.zeros((100, 100, 3), dtype=np.uint8)
    square[25:75, 25:75] = 255
    wide = np.zeros((100, 200, 3), dtype=np.uint8)
    wide[25:75, 75:125] = 255
    save(tmp_path / "in" / "1.png", wide)
    (tmp_path / "in" / "0.png").write_bytes((tmp_path / "in" / "1.png").read_bytes()[:150])
    save(tmp_path / "in" / "2.png", square)
    words = ("-s", "predict.overlay=video", "-s", "predict.min_joint_score=9")
    _, (name,) = predict(posecache, place, tmp_path / "in", tmp_path / "out", *words)
    for frame in read_film(tmp_path / "out" / name)[0][1:]:
        shown = frame[:, :240].min(axis=-1) > 128
        # Through the middle; the frames of the boxes are farther out.
        widths, heights = shown[60, 80:160].sum(), shown[20:100, 120].sum()
        assert abs(int(widths) - int(heights)) <= 4
        assert 54 <= widths <= 64


@pytest.mark.parametrize(
    "words",
    [
        ("--intrinsics", "300,300,nan,100"),
        ("--intrinsics", "inf,300,100,100"),
        ("-s", "predict.smooth_s=.inf"),
        ("-s", "predict.fps=.inf"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(
    words: tuple[str, str], place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    given = next(iter(sorted(place.pictures.glob("*/*.png"))))
    out = tmp_path / "out"
    ended = posecache("predict", str(given), "--run", str(place.run), "--out", str(out), *words)
    assert ended.code == 2, ended.err
    assert "finite number" in ended.err
    assert not out.exists()
