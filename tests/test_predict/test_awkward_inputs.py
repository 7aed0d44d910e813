"""Inputs that a prediction refuses, and what it says: nothing is written or overwritten."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.predict.setup import rendered_note
from pipeline.runs.config import config_of_run
from stages.lift import load_run
from tests.test_pipeline.commands import CommandLine, Ended
from tests.test_predict.conftest import Place, numbers

QUIET = ("-s", "predict.overlay=none")


@pytest.fixture
def pictures(place: Place, tmp_path: Path) -> list[Path]:
    """Two pictures of one name, in two folders."""
    found = sorted(place.pictures.glob("*/*.png"))[:2]
    copies = [tmp_path / name / "a.png" for name in ("one", "other")]
    for picture, copy in zip(found, copies, strict=True):
        copy.parent.mkdir()
        shutil.copy(picture, copy)
    return copies


def predict(posecache: CommandLine, place: Place, given: Path, *words: str) -> Ended:
    return posecache("predict", str(given), "--run", str(place.run), *QUIET, *words)


def test_poses_of_another_input_of_that_name_are_not_lost(
    place: Place,
    posecache: CommandLine,
    pictures: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # a second time is fine
        assert predict(posecache, place, pictures[0]).code == 0
    kept = numbers(tmp_path / "predictions" / "a" / "poses.npz")["joints_3d_mm"]
    ended = predict(posecache, place, Path("other") / "a.png")
    assert ended.code == 3
    assert f"predictions/a has the poses of {pictures[0]}, which would be lost" in ended.err
    found = numbers(tmp_path / "predictions" / "a" / "poses.npz")["joints_3d_mm"]
    np.testing.assert_array_equal(found, kept)
    named = ("--out", str(tmp_path / "predictions" / "a"))
    assert predict(posecache, place, pictures[1], *named).code == 0


def test_intrinsics_are_of_pictures_of_one_size(
    place: Place, posecache: CommandLine, pictures: list[Path], tmp_path: Path
) -> None:
    picture = cv2.imread(str(pictures[0]))
    cv2.imwrite(str(pictures[0].with_name("b.png")), cv2.resize(picture, (128, 100)))
    words = ("--out", str(tmp_path / "out"))
    assert predict(posecache, place, pictures[0].parent, *words).code == 0
    words = ("--out", str(tmp_path / "placed"), "--intrinsics", "300,300,128,128")
    ended = predict(posecache, place, pictures[0].parent, *words)
    assert ended.code == 2
    assert "2 sizes (128 x 100, 256 x 256). Predict each size on its own." in ended.err
    assert not list((tmp_path / "placed").iterdir())


def test_a_file_that_is_neither_picture_nor_video_is_called_so(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "poses.txt"
    file.write_text("1 2 3")
    ended = predict(posecache, place, file, "--out", str(tmp_path / "out"))
    assert ended.code == 3
    assert "poses.txt: its name is not that of a picture" in ended.err
    assert not (tmp_path / "out").exists()


def test_no_pose_at_all_is_an_error_with_the_reason(
    place: Place, posecache: CommandLine, pictures: list[Path], tmp_path: Path
) -> None:
    pictures[0].write_bytes(pictures[0].read_bytes()[:500])
    ended = predict(posecache, place, pictures[0], "--out", str(tmp_path / "out"))
    assert ended.code == 3
    assert "no frame gave a pose (truncated 1); nothing is written" in ended.err
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("name", ["synthetic", "human36m"])
def test_a_store_of_drawn_people_is_known_under_another_name(name: str, place: Place) -> None:
    config = config_of_run(place.run, [("dataset.name", name)])
    trained_on = load_run(place.run).description.trained_on
    assert rendered_note(config, trained_on)
    real = trained_on.model_copy(update={"content_identity": {"adapter": "human36m"}})
    assert bool(rendered_note(config, real)) == (name == "synthetic")
