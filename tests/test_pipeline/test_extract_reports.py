"""What the person at the controls sees of an extraction: the plan, missing pictures, bad frames."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from pipeline.extraction import plan as extract_plan
from tests.test_extract.studio import write_layout
from tests.test_pipeline.commands import CommandLine, Ended


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """A tiny dataset of 9 rows, all pictures there."""
    root = tmp_path / "tiny"
    write_layout(root)
    return root


@pytest.fixture
def extract(posecache: CommandLine, layout: Path, tmp_path: Path):  # type: ignore[no-untyped-def]
    """`posecache extract` of the tiny dataset, three chunks."""

    def run(*words: str) -> Ended:
        settings = (
            f"dataset.root={layout}",
            f"data_root={tmp_path / 'data'}",
            "crop.input_size=[192, 160]",
            "crop.flip=false",
            "extract.shard_rows=4",
            "extract.batch_size=4",
            "extract.workers=1",
        )
        sets = [word for text in settings for word in ("--set", text)]
        names = ("--dataset", "human36m", "--detector", "synthetic")
        return posecache("extract", *names, *sets, *words)

    return run


def pictures(layout: Path) -> list[Path]:
    return sorted((layout / "images").rglob("*.jpg"))


def test_a_dry_run_says_what_an_extraction_costs_and_writes_nothing(
    extract, layout: Path, tmp_path: Path
) -> None:
    pictures(layout)[4].unlink()
    ended = extract("--dry-run", "--set", "crop.box_source=gt3d", "--set", "crop.kind=mmpose-udp")
    assert ended.code == 0, ended.err
    assert "cuts persons out by crop.kind=mmpose instead of mmpose-udp" in ended.out
    assert "3 of 3 chunks (9 of 9 frames)" in ended.out
    assert "they tell a lifter about distance" in ended.out
    assert "keypoints: detector, gt" in ended.out
    assert "frames/s with 1 worker" in ended.out
    assert "missing pictures: of 1 frames: S8/" in ended.out
    assert not (tmp_path / "data").exists()
    plan = json.loads(extract("--dry-run", "--json").out)
    assert plan["num_rows_todo"] == 9
    assert plan["total_bytes"] == 9 * plan["row_bytes"] == plan["todo_bytes"]
    assert plan["fits"] is True
    assert plan["complete"] is False
    assert plan["seconds_left"] == pytest.approx(9 / plan["rows_per_s"])


def test_a_disk_that_is_too_small_is_said_with_what_to_do(
    extract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extract_plan, "_free_bytes", lambda _root: 1000)
    ended = extract("--dry-run")
    assert "does not fit" in ended.out
    assert "recode STORE OUT --dtype uint8" in ended.out
    assert json.loads(extract("--dry-run", "--json").out)["fits"] is False


def test_strict_names_all_missing_pictures_before_any_work(
    extract, layout: Path, tmp_path: Path
) -> None:
    for path in pictures(layout)[3:5]:
        path.unlink()
    ended = extract("--strict")
    assert ended.code == 3
    assert "pictures of 2 of 9 frames are missing: S8/" in ended.err
    assert "Nothing was extracted" in ended.err
    assert not list((tmp_path / "data").glob("*.zarr"))


def test_bad_frames_end_in_a_list_with_reasons(
    posecache: CommandLine, extract, layout: Path, tmp_path: Path
) -> None:
    gone, cut, *_ = pictures(layout)[3:]
    whole = cut.read_bytes()
    gone.unlink()
    cut.write_bytes(whole[:-30])
    ended = extract()
    assert ended.code == 0, ended.err
    assert "pictures of 1 of 9 frames are missing" in ended.out
    listed = tmp_path / "data" / "human36m-hrnet-synthetic.bad-frames.csv"
    said = (
        f"frames that cannot be used: missing 1, truncated 1. All of them, with reasons: {listed}"
    )
    assert said in ended.out
    with listed.open(newline="") as file:
        rows = {line["reason"]: line for line in csv.DictReader(file)}
    assert set(rows) == {"missing", "truncated"}
    for reason, path, message in (
        ("missing", gone, "does not exist"),
        ("truncated", cut, "ends early"),
    ):
        assert rows[reason]["item"] == path.relative_to(layout / "images").as_posix()
        assert rows[reason]["row"] == {"missing": "3", "truncated": "4"}[reason]
        assert message in rows[reason]["message"]
    store = listed.with_name("human36m-hrnet-synthetic.zarr")
    info = json.loads(posecache("cache", "info", str(store), "--json").out)
    assert info["bad_frames"]["count"] == 2
    assert [row for row, _, _ in info["bad_frames"]["first"]] == [3, 4]
    shown = posecache("cache", "info", str(store)).out
    assert rows["missing"]["item"] in shown
    assert "up to date" in extract().out


def test_an_extraction_of_which_nothing_can_be_used_is_an_error_and_keeps_what_it_found(
    extract, layout: Path, tmp_path: Path
) -> None:
    for path in pictures(layout):
        path.unlink()
    store = tmp_path / "data" / "human36m-hrnet-synthetic.zarr"
    for _ in range(2):  # the second finds the store complete
        ended = extract()
        assert ended.code == 3
        assert f"{store}: not one of its 9 frames can be used: missing 9." in ended.err
        assert len(ended.err.splitlines()) == 1
    assert len(store.with_suffix(".bad-frames.csv").read_text().splitlines()) == 10
    assert store.with_suffix(".provenance.json").is_file()
