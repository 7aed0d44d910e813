"""`posecache predict` on a picture, a video and a folder, and what it says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from pipeline.errors import PipelineError
from pipeline.predict.files import read_npz
from pipeline.predict.film import Film
from pipeline.predict.placing import place_poses
from pipeline.predict.setup import choose_run
from tests.test_pipeline.commands import CommandLine, Ended
from tests.test_predict.conftest import Place, numbers

WARNING = "NOT FOR REAL PEOPLE"


@pytest.fixture(scope="module")
def video(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "walk.mp4"
    with Film(path, fps=10) as film:
        for row in place.test_rows[:3]:
            film.add(place.dataset.load_image(row))
    return path


def predict(posecache: CommandLine, place: Place, target: Path, out: Path, *words: str) -> Ended:
    return posecache("predict", str(target), "--run", str(place.run), "--out", str(out), *words)


def test_a_video_becomes_poses_and_a_video_beside_turning_skeletons(
    place: Place, posecache: CommandLine, video: Path, tmp_path: Path
) -> None:
    ended = predict(posecache, place, video, tmp_path, "-s", "predict.overlay_height=160")
    assert ended.code == 0, ended.err
    assert WARNING in ended.out
    assert "taken for one person" in " ".join(ended.out.split())
    found = numbers(tmp_path / "poses.npz")
    assert found["source"].tolist() == ["walk.mp4"] * 3
    np.testing.assert_allclose(found["time_s"], [0.0, 0.1, 0.2])
    with av.open(str(tmp_path / "walk-3d.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 3
    assert frames[0].shape[1] == 320  # the picture and the skeletons, side by side
    assert np.abs(frames[0][:160, 160:].astype(int) - frames[2][:160, 160:]).max() > 50  # it turns
    # The warning is part of every frame.
    assert (frames[1][-8:, -40:].reshape(-1, 3).mean(axis=0) - [190, 20, 20]).max() < 25
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "poses.json",
        "poses.npz",
        "walk-3d.mp4",
    ]


def test_a_picture_becomes_a_pose_and_a_picture(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    (picture, *_) = sorted(place.pictures.glob("*/*.png"))
    ended = predict(
        *(posecache, place, picture, tmp_path, "-s", "predict.overlay_height=200"),
        *("-s", "predict.pictures=rendered", "--json"),
    )
    assert ended.code == 0, ended.err
    facts = json.loads(ended.out)
    assert facts["num_rows"] == facts["num_people"] == 1
    assert not any(WARNING in note for note in facts["notes"])
    overlay = tmp_path / f"{picture.stem}-3d.png"
    assert str(overlay) in facts["files"]
    assert cv2.imread(str(overlay)).shape == (200, 600, 3)  # it, from the front, from the side


@pytest.mark.slow
def test_a_second_prediction_has_the_same_numbers(
    place: Place, posecache: CommandLine, video: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        assert not predict(
            posecache, place, video, tmp_path / name, "-s", "predict.overlay=none"
        ).code
    first, second = (numbers(tmp_path / name / "poses.npz") for name in ("a", "b"))
    assert first.keys() == second.keys()
    for name in first.keys() - {"about"}:
        np.testing.assert_array_equal(first[name], second[name])


def test_files_say_units_joints_origin_and_warnings(
    place: Place, posecache: CommandLine, video: Path, tmp_path: Path
) -> None:
    predict(posecache, place, video, tmp_path, "-s", "predict.overlay=none")
    about = read_npz(tmp_path / "poses.npz")["about"]
    content = json.loads((tmp_path / "poses.json").read_text())
    assert content["about"] == about
    assert about["skeleton"]["joints"][0] == about["skeleton"]["root"] == "root"
    assert about["units"]["joints_3d_mm"].startswith("mm, camera frame (x right, y down")
    assert about["run"]["name"] == place.run.name
    assert about["run"]["trained_on"] == "synthetic"
    assert about["provenance"]["versions"]["torch"]
    assert any(WARNING in note for note in about["notes"])
    arrays = numbers(tmp_path / "poses.npz")
    (person,) = content["people"]
    shown = np.array([frame["joints_3d_mm"] for frame in person["frames"]])
    np.testing.assert_allclose(shown, arrays["joints_3d_mm"], atol=0.006)
    seen = np.array([frame["keypoints_px"] for frame in person["frames"]])
    np.testing.assert_allclose(seen, arrays["keypoints_px"], atol=0.006)


def test_a_picture_that_cannot_be_read_has_no_pose_and_a_reason(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (good, *_) = sorted(place.pictures.glob("*/*.png"))
    (folder / "a.png").write_bytes(good.read_bytes())
    (folder / "b.png").write_bytes(good.read_bytes()[:500])
    out = tmp_path / "out"
    ended = predict(posecache, place, folder, out, "-s", "predict.overlay_height=120", "--json")
    assert ended.code == 0, ended.err
    status = json.loads(ended.out)["rows_by_status"]
    assert status.pop("ok") == 1
    assert list(status.values()) == [1]
    found = numbers(out / "poses.npz")
    assert np.isfinite(found["joints_3d_mm"][0]).all()
    assert np.isnan(found["joints_3d_mm"][1]).all()
    frames = json.loads((out / "poses.json").read_text())["people"][0]["frames"]
    assert "joints_3d_mm" not in frames[1]
    assert frames[1]["status"] == next(iter(status))


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (("none.mp4",), r"none.mp4: there is no such picture, video or folder", 3),
        (("{video}", "--run", "none"), r"none: there is no such run. Finished runs in", 3),
        (("{video}", "--boxes", "none.csv"), r"none.csv", 3),
        (("{video}", "--intrinsics", "500,500"), r"expected FX,FY,CX,CY", 2),
        (("{video}", "-s", "predict.refine=true"), r"refine needs the camera: --intrinsics", 2),
        (("{video}", "-s", "predict.smoth_s=1"), r"did you mean 'predict.smooth_s'", 2),
        (("{video}", "-s", "detector.folder=nowhere"), r"--set detector.folder=DIR", 3),
        (("{video}", "-s", "detector.random_seed=1"), r"feature identity: detector.weights", 4),
        (("{video}", "--device", "cuda:9"), r"cuda:9.*cannot be used", 2),
        (("{pictures}", "--out", "{pictures}/out"), r"is inside .* Give --out a place", 3),
    ],
)
def test_what_is_wrong_is_said_in_one_message(
    words: tuple[str, ...],
    says: str,
    code: int,
    place: Place,
    posecache: CommandLine,
    video: Path,
    tmp_path: Path,
) -> None:
    places = {"video": video, "pictures": place.pictures}
    given = [word.format(**places) for word in words]
    given += [] if "--run" in given else ["--run", str(place.run)]
    given += [] if "--out" in given else ["--out", str(tmp_path / "out")]
    ended = posecache("predict", *given)
    assert ended.code == code, ended.err
    assert "Traceback" not in ended.err
    assert re.search(says, ended.err), ended.err
    assert not list(tmp_path.iterdir())


def test_the_newest_run_that_can_be_used_is_taken(tmp_path: Path) -> None:
    kinds = {
        "a": ("detector", "own"),
        "b": ("detector", None),
        "c": ("gt", None),
        "d": ("detector", "shuffled"),
    }
    for age, (name, (source, context)) in enumerate(kinds.items()):
        metrics = tmp_path / name / "metrics.json"
        metrics.parent.mkdir()
        metrics.write_text(json.dumps({"keypoint_source": source, "context": context}))
        os.utime(metrics, (age, age))
    assert choose_run(None, tmp_path) == tmp_path / "b"
    assert choose_run(Path("d"), tmp_path) == tmp_path / "d"
    for name in "ab":
        (tmp_path / name / "metrics.json").unlink()
    with pytest.raises(PipelineError, match=r"no finished run that lifts.*posecache lift"):
        choose_run(None, tmp_path)


def test_refinement_is_as_the_settings_say_is_said_and_may_place_nobody(
    place: Place, posecache: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (picture, *_) = sorted(place.pictures.glob("*/*.png"))
    given = []

    def record(*arguments: Any, **options: Any) -> Any:
        given.append(options["refinement"])
        return place_poses(*arguments, **options)

    monkeypatch.setattr("pipeline.predict.lifting.place_poses", record)
    # Poses of a run of two steps fit no camera: nothing is placed, and nothing moves.
    words = ("--intrinsics", "9000,9000,128,128", "-s", "predict.overlay=none")
    sets = ("-s", "predict.refine=true", "-s", "evaluate.refinement.prior_sigma_mm=7")
    for name, more in (("plain", ()), ("refined", sets)):
        ended = predict(posecache, place, picture, tmp_path / name, *words, *more)
        assert ended.code == 0, ended.err
    plain, refined = (read_npz(tmp_path / name / "poses.npz") for name in ("plain", "refined"))
    assert given[1].prior_sigma_mm == 7
    assert not any("Refined" in note for note in plain["about"]["notes"])
    assert any("Refined" in note for note in refined["about"]["notes"])
    assert np.isnan(refined["root_mm"]).all()
    np.testing.assert_array_equal(refined["joints_3d_mm"], plain["joints_3d_mm"])


def test_settings_without_an_effect_are_refused(
    place: Place, posecache: CommandLine, video: Path, tmp_path: Path
) -> None:
    ended = predict(posecache, place, video, tmp_path / "out", "-s", "lifter.levels=[x4]")
    assert ended.code == 2
    assert "lifter.levels: has no effect on a prediction" in ended.err
    assert not list(tmp_path.iterdir())
