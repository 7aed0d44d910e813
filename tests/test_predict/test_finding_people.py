"""Persons that a detector finds in single pictures, few pictures and pictures of no sequence."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from stages.extract.boxes.find import find_people
from stages.extract.boxes.people import PeopleConfig
from stages.extract.datasets.folder_sources import find_sources
from tests.test_pipeline.commands import CommandLine, Ended
from tests.test_predict.conftest import Place, numbers


def one_person(picture: np.ndarray) -> np.ndarray:
    """A person detector that finds one person at a place that the first px says."""
    left = float(picture[0, 0, 0]) % 5 * 40
    return np.array([[left, 5.0, left + 39, 200.0, 0.9]])


def predict(posecache: CommandLine, place: Place, given: Path, out: Path, *words: str) -> Ended:
    return posecache(
        *("predict", str(given), "--run", str(place.run), "--out", str(out)),
        *("-s", f"people.detector={__name__}:one_person", "-s", "predict.overlay=none", *words),
    )


def save(path: Path, first_px: int) -> None:
    picture = np.full((240, 240, 3), 90, dtype=np.uint8)
    picture[0, 0] = first_px
    assert cv2.imwrite(str(path), picture)


@pytest.mark.parametrize("num_pictures", [1, 2, 4])
def test_a_person_in_every_picture_of_few_is_found(num_pictures: int, tmp_path: Path) -> None:
    for number in range(num_pictures):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.zeros((60, 40, 3), dtype=np.uint8))
    found = find_people(
        tmp_path,
        find_sources(tmp_path),
        lambda _picture: np.array([[5.0, 5, 30, 50, 0.9]]),
        PeopleConfig(),
        tmp_path / "journal",
        found_by={"detector": "one"},
    )
    assert len(found.table) == num_pictures
    assert found.num_tracks == 1


def test_the_person_in_a_single_picture_is_lifted(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    save(tmp_path / "a.png", 1)
    ended = predict(posecache, place, tmp_path / "a.png", tmp_path / "out", "--json")
    assert ended.code == 0, ended.err
    found = numbers(tmp_path / "out" / "poses.npz")
    np.testing.assert_allclose(found["boxes_px"], [[40, 5, 79, 200]], atol=0.01)


def test_persons_of_pictures_that_are_no_sequence_are_found_as_the_message_says(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    given = tmp_path / "in"
    given.mkdir()
    for number in range(6):
        save(given / f"{number}.png", number)
    ended = predict(posecache, place, given, tmp_path / "out")
    assert ended.code == 3
    assert "--set people.link=none" in ended.err
    ended = predict(posecache, place, given, tmp_path / "out", "-s", "people.link=none", "--json")
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["num_rows"] == 6


def test_boxes_that_are_left_out_are_said(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    given = tmp_path / "in"
    given.mkdir()
    for number in range(8):
        save(given / f"{number}.png", 0 if number < 6 else number)
    ended = predict(posecache, place, given, tmp_path / "out")
    assert ended.code == 0, ended.err
    said = " ".join(ended.out.split())
    assert "2 of 8 boxes were left out as unsure or seen too shortly" in said
