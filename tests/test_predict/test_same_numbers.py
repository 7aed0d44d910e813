"""Predictions of pictures are what an extraction and an evaluation say of the same frames."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from cache import CacheReader
from pipeline.runs.config import config_of_run
from stages.lift import evaluate, load_run
from stages.lift.feed.windows import windowing_of
from tests.test_pipeline.commands import CommandLine
from tests.test_predict.conftest import Place, numbers


def predicted(
    posecache: CommandLine, place: Place, out: Path, *words: str, boxes: Path | None = None
) -> dict[str, np.ndarray]:
    ended = posecache(
        *("predict", str(place.pictures), "--run", str(place.run), "--out", str(out)),
        *("--boxes", str(boxes or place.boxes), "-s", "predict.overlay=none", "--json", *words),
    )
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["rows_by_status"] == {"ok": 6}
    return numbers(out / "poses.npz")


def evaluated(place: Place) -> np.ndarray:
    run, config = load_run(place.run), config_of_run(place.run)
    (store,) = (place.root / "data").glob("*.zarr")
    found = evaluate(
        run.model,
        CacheReader(store),
        "test",
        config.evaluate,
        data=config.train.data,
        level_names=run.level_names,
        windowing=windowing_of(run.description.lifter, config.train.data),
    )
    assert tuple(found.rows) == place.test_rows
    return found.predicted_mm


def test_a_folder_of_pictures_has_the_poses_of_the_evaluation(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    found = predicted(posecache, place, tmp_path / "out")
    expected = evaluated(place)
    assert np.ptp(expected) > 1.0
    np.testing.assert_allclose(found["joints_3d_mm"], expected, atol=1e-3)
    (store,) = (place.root / "data").glob("*.zarr")
    stored = CacheReader(store).keypoints("detector", rows=np.array(place.test_rows))
    np.testing.assert_array_equal(found["detected_px"], stored)


def test_boxes_that_are_a_little_off_change_the_poses(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    rows = list(csv.reader(place.boxes.read_text().splitlines()))
    shifted = [[*row[:2], str(float(row[2]) + 3), *row[3:]] for row in rows[1:]]
    boxes = tmp_path / "boxes.csv"
    with boxes.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *shifted])
    found = predicted(posecache, place, tmp_path / "out", boxes=boxes)
    assert np.abs(found["joints_3d_mm"] - evaluated(place)).max() > 0.01


@pytest.mark.parametrize("words", [(), ("--intrinsics", "300,300,128,128")])
def test_known_cameras_place_the_poses_and_leave_them(
    place: Place, posecache: CommandLine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    found = predicted(posecache, place, tmp_path / "out", *words)
    np.testing.assert_allclose(found["joints_3d_mm"], evaluated(place), atol=1e-3)
    assert ("root_mm" in found) == bool(words)
