from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from cache import CacheReader
from pipeline.stores.pictures import load_picture
from tests.test_lift.stores import write_codes, write_store
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import SPLITS, answer, unfinished


def picture_of(path: Path) -> np.ndarray[Any, Any]:
    image = cv2.imread(str(path))
    assert image is not None
    return image


def has_red(path: Path) -> bool:
    """Whether the plain red of the dataset's pictures is there."""
    return bool((picture_of(path) == (20, 20, 200)).all(axis=-1).sum() > 1000)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize("view", ["plain", "flipped"])
def test_a_frame_is_drawn_with_its_picture(
    tmp_path: Path, store: Path, posecache: CommandLine, view: str
) -> None:
    out = tmp_path / "new" / "frame.png"
    shown = answer(posecache, "show", str(store), "--row", "9", "--view", view, "--out", str(out))
    assert (shown["row"], shown["item"], shown["view"]) == (9, "train-9", view)
    assert shown["no_picture"] is None
    assert has_red(out)
    reader, number = CacheReader(store), ["plain", "flipped"].index(view)
    maps = reader.read([9], view=number)["x8"].astype(float)
    assert shown["level_rms"]["x8"] == pytest.approx(np.sqrt(np.mean(maps**2)), rel=1e-5)
    joints = [reader.keypoints(source, number)[9, :, :2] for source in ("detector", "gt")]
    error = np.linalg.norm(joints[0] - joints[1], axis=-1).mean()
    assert shown["detector_error_px"] == pytest.approx(error)


@pytest.mark.usefixtures("drawn")
def test_the_first_usable_frame_is_shown_if_none_is_named(
    store: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert posecache("cache", "show", str(store)).out == "picture: made-row0-plain.png\n"
    assert has_red(tmp_path / "made-row0-plain.png")


@pytest.mark.usefixtures("drawn")
def test_without_the_picture_maps_and_joints_are_shown_and_it_says_why(
    tmp_path: Path, store: Path, posecache: CommandLine
) -> None:
    out = tmp_path / "frame.png"
    words = ("--set", "dataset.options.seed=1", "--out", str(out))
    ended = posecache("cache", "show", str(store), *words)
    assert ended.code == 0
    assert "without the picture: the dataset is not the one of the store" in ended.out
    assert not has_red(out)


@pytest.mark.usefixtures("drawn")
@pytest.mark.parametrize(
    ("row", "changes", "reason"),
    [
        (3, {}, "row 3 has no picture"),
        (0, {"options": {"seed": 1}}, "the dataset is not the one of the store"),
        (0, {"name": "drwn"}, "Did you mean 'drawn'?"),
        (0, {"root": "nowhere"}, "--set dataset.root=DIR"),
    ],
)
def test_why_there_is_no_picture(
    made: Path, row: int, changes: dict[str, Any], reason: str
) -> None:
    dataset = {"name": "drawn", "options": {}, **changes}
    found = load_picture(CacheReader(made), row, dataset)
    assert isinstance(found, str)
    assert reason in found


def test_a_store_of_an_unknown_dataset_and_unusable_rows_are_shown(
    tmp_path: Path, store: Path, posecache: CommandLine
) -> None:
    out = tmp_path / "frame.png"
    shown = answer(posecache, "show", str(store), "--item", "train-5", "--out", str(out))
    assert (shown["row"], shown["status"]) == (5, "NO_PERSON")
    assert "which dataset" in shown["no_picture"]
    assert shown["detector_error_px"] is None
    assert picture_of(out).size


def test_levels_of_codes_are_shown_by_what_they_stand_for(
    tmp_path: Path, posecache: CommandLine
) -> None:
    reader = write_codes(tmp_path / "codes.zarr")
    words = ("show", str(tmp_path / "codes.zarr"), "--row", "7", "--out", str(tmp_path / "a.png"))
    shown = answer(posecache, *words)
    values = reader.read([7])["x8"] * reader.scales("x8")
    assert shown["level_rms"]["x8"] == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-5)


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (("--row", "99"), 3, "rows run from 0 to 31"),
        (("--row", "20"), 3, "row 20 is not written yet"),
        (("--item", "train"), 3, "Some that contain it: train-0"),
        (("--row", "1", "--item", "train-1"), 2, "give one of them"),
        (("--set", "train.lr=1"), 2, "only dataset"),
    ],
)
def test_a_frame_that_cannot_be_shown_is_one_clear_error(
    store: Path, posecache: CommandLine, words: tuple[str, ...], code: int, reason: str
) -> None:
    unfinished(store)
    ended = posecache("cache", "show", str(store), *words)
    assert ended.code == code
    assert reason in ended.err


def test_a_view_that_a_store_lacks_and_a_file_in_the_way_are_errors(
    tmp_path: Path, posecache: CommandLine
) -> None:
    write_store(tmp_path / "plain.zarr", SPLITS, views=("plain",))
    store = str(tmp_path / "plain.zarr")
    assert posecache("cache", "show", store, "--view", "flipped").code == 2
    (tmp_path / "file").touch()
    ended = posecache("cache", "show", store, "--out", str(tmp_path / "file" / "a.png"))
    assert ended.code == 3
    assert "--out" in ended.err


@pytest.mark.usefixtures("drawn")
def test_a_recoded_store_knows_its_dataset(store: Path, posecache: CommandLine) -> None:
    target = store.parent / "b.zarr"
    posecache("cache", "recode", str(store), str(target), "--dtype", "uint8")
    out = store.parent / "frame.png"
    assert answer(posecache, "show", str(target), "--out", str(out))["no_picture"] is None
    assert has_red(out)
