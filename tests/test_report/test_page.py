from __future__ import annotations

import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from cache import CacheReader
from pipeline.runs.comparison import compare_runs
from pipeline.runs.comparison_tables import letters
from stages.extract.datasets import DATASETS
from stages.lift.calibration import calibration
from tests.test_lift.stores import build_plan, write_store
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import SPLITS
from tests.test_report.reading import Element, data_of, read_page, rows_of, section

MOST_BYTES = 10_000_000


def report(posecache: CommandLine, *words: str) -> str:
    ended = posecache("report", *words)
    assert ended.code == 0, ended.err
    return ended.out


def page_of(posecache: CommandLine, run: Path, *words: str) -> Element:
    report(posecache, str(run), *words)
    return read_page((run / "report.html").read_text("utf-8"))


def test_the_numbers_of_the_page_are_those_of_metrics_json(
    runs: Path, posecache: CommandLine
) -> None:
    before = {path: path.read_bytes() for path in (runs / "capf").iterdir()}
    page = page_of(posecache, runs / "capf")
    metrics = json.loads((runs / "capf" / "metrics.json").read_text())
    means, *_ = section(page, "errors").all("tbody")
    for split, found in metrics["splits"].items():
        expected = found["frame_wise"]
        shown = next(row for row in rows_of(means) if row[:2] == [split, "frames"])
        lengths = [f"{expected[key]:.1f}" for key in ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm")]
        assert shown[2:6] == [str(found["num_frames"]), *lengths]
        assert shown[7] == f"{100 * expected['pck']:.1f}"
        tables = next(
            part for part in section(page, "tables").all("details") if split in part.text[:40]
        )
        rows = {row[0]: row[1:] for row in rows_of(tables) if row}
        for joint, error_mm in found["per_joint"].items():
            assert rows[joint] == [f"{error_mm:.1f}"]
        for action, of_action in found["per_action"].items():
            assert rows[action][1] == f"{of_action['mpjpe_mm']:.1f}"
    assert "equals that of metrics.json" in page.text
    after = {path: path.read_bytes() for path in (runs / "capf").iterdir()}
    assert after.pop(runs / "capf" / "report.html")
    assert after == before


def test_numbers_that_are_not_those_of_the_weights_are_a_loud_error(
    runs: Path, posecache: CommandLine
) -> None:
    path = runs / "capf" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["splits"]["test"]["frame_wise"]["mpjpe_mm"] += 0.5
    path.write_text(json.dumps(metrics))
    output = report(posecache, str(runs / "capf"))
    assert "differ from metrics.json by up to -0.500 mm" in output
    page = read_page((runs / "capf" / "report.html").read_text())
    (banner,) = page.all("div", class_="banner bad")
    assert "is not that of metrics.json" in banner.text


@pytest.mark.parametrize("names", [("capf",), ("pose_only", "capf", "other")])
def test_a_page_asks_nothing_of_a_network_and_is_small(
    names: tuple[str, ...], runs: Path, posecache: CommandLine
) -> None:
    out = runs / "page.html"
    report(posecache, *(str(runs / name) for name in names), "--out", str(out))
    text = out.read_text("utf-8")
    assert len(text.encode()) < MOST_BYTES
    page = read_page(text)
    scripts = list(page.all("script"))
    assert max(len(script.text) for script in scripts) > 1_000_000  # plotly.js, once
    assert sum(len(script.text) > 1_000_000 for script in scripts) == 1
    assert not any("src" in script.attributes for script in scripts)
    rest = "".join(part for part in re.split(r"<script.*?</script>", text, flags=re.S))
    assert "http:" not in rest
    assert "https:" not in rest
    (style,) = page.all("style")
    assert "@import" not in style.text
    assert "url(" not in style.text
    own = next(script.text for script in scripts if script.text.strip().startswith('"use strict"'))
    assert not re.search(r"\bfetch\(|XMLHttpRequest|import\(|WebSocket", own)
    for tag, attribute in (("link", "href"), ("image", "href"), ("use", "href"), ("a", "href")):
        for element in page.all(tag):
            assert element.attributes[attribute].startswith(("data:", "#"))


def test_a_page_that_loads_a_script_from_elsewhere_is_found_out() -> None:
    text = '<html><script src="https://cdn.example/plotly.js"></script></html>'
    assert any("src" in script.attributes for script in read_page(text).all("script"))
    with pytest.raises(AssertionError, match="closes"):
        read_page("<p><b>wrong</p></b>")


def test_hostile_names_are_text(runs: Path, posecache: CommandLine) -> None:
    name = "<script>alert(1)<&\"'{{ 7*7 }}<img src=x onerror=alert(2)>"
    hostile = runs / name
    (runs / "capf").rename(hostile)
    (runs / "pose_only").rename(runs / "<script>alert(3)<")
    metrics = json.loads((hostile / "metrics.json").read_text())
    metrics["notes"] = ["CHOSEN ON TEST: </script><script>alert(4)</script>"]
    (hostile / "metrics.json").write_text(json.dumps(metrics))
    page = page_of(posecache, hostile)
    text = (hostile / "report.html").read_text("utf-8")
    assert "alert(4)</script>" not in text
    assert not re.search(r"<script>alert|<img", text)
    (title,) = page.all("h1")
    assert title.text == name
    assert any("alert(4)" in banner.text for banner in page.all("p", class_="banner warn"))
    assert "control <script>alert(3)<" in [
        line["name"] for line in data_of(page, "charts")["clip"]["data"]
    ]


def test_frames_show_their_pictures(runs: Path, posecache: CommandLine) -> None:
    part = section(page_of(posecache, runs / "capf"), "frames")
    images = [image.attributes["href"] for image in part.all("image")]
    kinds = [title.text.partition(":")[0] for title in part.all("h4")]
    assert kinds == ["worst", "worst of another clip", "median", "best"]
    assert len(images) == len(kinds)
    assert all(image.startswith("data:image/jpeg;base64,") for image in images)
    assert not list(part.all("p", class_="banner warn"))


def test_without_pictures_the_page_says_why_and_draws_the_joints(
    runs: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(DATASETS, "drawn")
    page = page_of(posecache, runs / "capf")
    part = section(page, "frames")
    (reason,) = part.all("p", class_="banner warn")
    assert "Pictures are left out: Unknown dataset 'drawn'" in reason.text
    assert not list(page.all("image"))
    assert len(list(part.all("svg"))) == 4
    assert list(section(page, "sampling").all("circle", class_="dot"))
    assert "pictures" not in data_of(page, "scenes")["clip"]


def test_a_run_without_maps_has_no_sampling_points(runs: Path, posecache: CommandLine) -> None:
    page = page_of(posecache, runs / "pose_only")
    part = section(page, "sampling")
    assert "learns no sampling points" in part.text
    assert not list(part.all("circle"))


def test_the_control_is_found_and_the_clip_with_the_largest_gain_is_named(
    runs: Path, posecache: CommandLine
) -> None:
    page = page_of(posecache, runs / "capf")
    own, control = (
        json.loads((runs / name / "metrics.json").read_text())["splits"]["test"]["per_clip"]
        for name in ("capf", "pose_only")
    )
    gains = {clip: control[clip]["mpjpe_mm"] - own[clip]["mpjpe_mm"] for clip in own}
    best = max(gains, key=lambda clip: gains[clip])
    text = section(page, "clip").text
    assert f"clip {best}" in text
    said = f"gain of capf over control pose_only is largest of all 2 clips: {gains[best]:.1f} mm"
    assert said in " ".join(text.split())
    shown = data_of(page, "charts")["clip"]["data"]
    assert [line["name"] for line in shown] == ["capf", "control pose_only"]
    mean_mm = sum(shown[0]["y"]) / len(shown[0]["y"])
    assert mean_mm == pytest.approx(own[best]["mpjpe_mm"], abs=0.01)


def test_without_a_control_the_page_says_how_to_train_one(
    runs: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.move(runs / "pose_only", runs.parent / "elsewhere")
    page = page_of(posecache, runs / "capf")
    copy, train = next(section(page, "clip").all("code")).text.split(" && ")
    _, source, target = shlex.split(copy)
    monkeypatch.chdir(runs)
    shutil.copy(source, target)
    program, *words = shlex.split(train)
    assert program == "posecache"
    ended = posecache(*words, "--dry-run", "--json")
    assert ended.code == 0, ended.err
    page = page_of(posecache, runs / "capf", "--control", str(runs.parent / "elsewhere"))
    assert "The control is elsewhere" in section(page, "clip").text


def test_several_runs_are_held_against_the_first(runs: Path, posecache: CommandLine) -> None:
    folders = [runs / name for name in ("pose_only", "capf", "other")]
    report(posecache, *map(str, folders), "--set", f"runs_root={runs}")
    page = read_page((runs / "report.html").read_text())
    result = compare_runs(folders)
    rows = [row for row in rows_of(section(page, "errors")) if row and row[1] == "frames"]
    changes = {other["run"]: other["splits"] for other in result["others"]}
    expected = []
    for split in result["runs"][0]["splits"]:
        for letter, run in zip(letters(3), result["runs"], strict=True):
            interval = ""
            if run["run"] in changes:
                change = changes[run["run"]][split]
                low, high = change["low_mm"], change["high_mm"]
                interval = f"{change['difference_mm']:+.1f} [{low:+.1f}, {high:+.1f}]"
            mpjpe = f"{run['splits'][split]['frame_wise']['mpjpe_mm']:.1f}"
            expected.append((letter, mpjpe, interval))
    assert [(row[0], row[2], row[-1]) for row in rows] == expected
    settings = {row[0]: row[1:] for row in rows_of(section(page, "run")) if len(row) == 4}
    assert settings["lifter.name"] == ["pose_only", "capf", "capf"]
    assert len(data_of(page, "scenes")["clip"]["predicted"]) == 3


def test_a_control_of_several_runs_is_refused(runs: Path, posecache: CommandLine) -> None:
    words = [str(runs / name) for name in ("capf", "other")]
    ended = posecache("report", *words, "--control", str(runs / "pose_only"))
    assert ended.code == 2
    assert "--control is for the page of one run" in ended.err


def test_uncertainty_is_drawn_where_a_run_has_it(runs: Path, posecache: CommandLine) -> None:
    page = page_of(posecache, runs / "capf")
    assert not [key for key in data_of(page, "charts") if key.startswith("calibration")]
    rng = np.random.default_rng(0)
    found = calibration(rng.gamma(3.0, 40.0, size=(8, 17)), np.full((8, 17), 20.0))
    path = runs / "capf" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["splits"]["test"]["uncertainty"] = found
    path.write_text(json.dumps(metrics))
    page = page_of(posecache, runs / "capf")
    charts = data_of(page, "charts")
    _, line = charts["calibration-test"]["data"]
    assert line["x"] == [one["predicted_mm"] for one in found["bins"]]
    assert line["y"] == [one["observed_mm"] for one in found["bins"]]
    assert charts["coverage-test"]["data"][1]["y"][-1] < 95
    assert "too sure of itself" in section(page, "spread").text


def test_json_gives_path_and_size(runs: Path, posecache: CommandLine) -> None:
    answer = json.loads(report(posecache, str(runs / "capf"), "--json"))
    path = Path(answer["path"])
    assert path == runs / "capf" / "report.html"
    assert answer["size_bytes"] == path.stat().st_size
    assert answer["equal_to_metrics"] is True
    assert answer["control"] == str(runs / "pose_only")


@pytest.mark.parametrize("package", ["jinja2", "plotly.offline"])
def test_a_missing_package_names_the_extra(
    package: str, runs: Path, posecache: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    ended = posecache("report", str(runs / "capf"))
    assert ended.code == 3
    assert "pip install 'posecache[report]'" in ended.err
    assert len(ended.err.strip().splitlines()) == 1


def test_another_store_than_that_of_the_metrics_is_refused(
    runs: Path, trained: Path, tmp_path: Path, posecache: CommandLine
) -> None:
    other = tmp_path / "other.zarr"
    shutil.copytree(trained / "data" / "drawn.zarr", other)
    assert len(CacheReader(other)) == 32
    ended = posecache("report", str(runs / "capf"), "--store", str(other))
    assert ended.code == 3
    assert "was evaluated on drawn.zarr, not on other.zarr" in ended.err
    assert not (runs / "capf" / "report.html").exists()


def test_runs_on_other_frames_are_not_laid_over_each_other(
    runs: Path, tmp_path: Path, posecache: CommandLine
) -> None:
    # The same names of clips and numbers of rows, of other poses.
    other = tmp_path / "data" / "drawn.zarr"
    write_store(other, SPLITS, plan=build_plan(SPLITS, seed=7))
    for name in ("other", "pose_only"):
        path = runs / name / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "store": str(other)}))
    for words in (("capf", "other"), ("capf", "--control", str(runs / "pose_only"))):
        first, second, *rest = words
        names = [str(runs / first), second if second.startswith("-") else str(runs / second)]
        ended = posecache("report", *names, *rest)
        assert ended.code == 3
        assert "they read other stores" in ended.err


def test_metrics_without_means_by_subject_get_those_of_today(
    runs: Path, posecache: CommandLine
) -> None:
    for run in (runs / "capf", runs / "pose_only"):
        metrics = json.loads((run / "metrics.json").read_text())
        for split in metrics["splits"].values():
            del split["per_subject"]
        (run / "metrics.json").write_text(json.dumps(metrics))
    for words in ([str(runs / "capf")], [str(runs / "capf"), str(runs / "pose_only")]):
        ended = posecache("report", *words, "--out", str(runs / "page.html"))
        assert ended.code == 0, ended.err
        assert "By subject" in (runs / "page.html").read_text()
