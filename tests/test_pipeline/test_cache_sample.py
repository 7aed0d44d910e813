from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from cache import CacheReader
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import NUM_ROWS, answer, unfinished

TINY = (
    "lifter.token_width=4",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "train.steps=4",
    "train.batch_size=8",
    "train.warmup_steps=0",
    "train.threads=1",
)


@pytest.mark.usefixtures("drawn")
def test_a_point_cache_lies_beside_its_store_and_is_made_once(
    store: Path, posecache: CommandLine
) -> None:
    target = store.parent / "made-points.zarr"
    found = answer(posecache, "sample", str(store))
    assert found["target"] == str(target)
    assert (found["num_rows"], found["rows_written"]) == (NUM_ROWS, NUM_ROWS)
    assert not found["up_to_date"]
    assert found["ratio"] == found["source_bytes"] / found["target_bytes"]
    noted = json.loads(target.with_suffix(".provenance.json").read_text())
    assert noted["sampled"]["sampled"]["keypoint_source"] == "detector"
    assert noted["dataset"]["name"] == "drawn"
    assert answer(posecache, "verify", str(target))["ok"]
    assert answer(posecache, "info", str(target))["points"]["skeleton"] == "H36M17"
    assert answer(posecache, "info", str(store))["points"] is None
    again = posecache("cache", "sample", str(store))
    assert "up to date" in again.out
    (target / "commit/c.0").unlink()
    assert (
        f"{NUM_ROWS} of {NUM_ROWS} frames sampled" in posecache("cache", "sample", str(store)).out
    )


def test_the_name_says_what_is_not_usual(store: Path, posecache: CommandLine) -> None:
    words = ("--set", "train.data.keypoint_source=gt", "--set", "lifter.reference_rule=geometric")
    found = answer(posecache, "sample", str(store), *words, "--dtype", "float32")
    assert found["target"].endswith("made-points-gt-geometric-float32.zarr")
    points = CacheReader(found["target"]).spec.points
    assert points is not None
    assert (points.keypoint_source, points.reference_rule) == ("gt", "geometric")


def test_a_dry_run_says_how_large_it_would_be_and_writes_nothing(
    store: Path, posecache: CommandLine
) -> None:
    before = sorted(store.parent.rglob("*"))
    out = str(store.parent / "mine.zarr")
    plan = answer(posecache, "sample", str(store), "--out", out, "--dry-run")
    assert (plan["target"], plan["chunks_done"], plan["num_chunks"]) == (out, 0, 1)
    assert "Nothing was written" in posecache("cache", "sample", str(store), "--dry-run").out
    assert sorted(store.parent.rglob("*")) == before
    answer(posecache, "sample", str(store), "--out", out)
    assert answer(posecache, "sample", str(store), "--out", out, "--dry-run")["chunks_done"] == 1
    words = ("--set", "lifter.reference_rule=geometric", "--dry-run")
    ended = posecache("cache", "sample", str(store), "--out", out, *words)
    assert ended.code == 4
    assert "reference_rule" in ended.err
    written = [np.prod(level.map_shape) for level in CacheReader(out).levels.values()]
    assert plan["points_bytes"] == 2 * 2 * NUM_ROWS * sum(written)  # views, bytes


def test_what_cannot_be_sampled_is_said_with_its_exit_code(
    store: Path, posecache: CommandLine
) -> None:
    for words, code, said in (
        (("--set", "train.epochs=3"), 2, "reads only train.data.keypoint_source"),
        (("--set", "lifter.reference_rule=round"), 2, "published, geometric, not 'round'"),
        (("--set", "train.data.keypoint_source=cpn"), 3, "no keypoints 'cpn'"),
    ):
        ended = posecache("cache", "sample", str(store), *words)
        assert ended.code == code
        assert said in ended.err
    target = answer(posecache, "sample", str(store))["target"]
    assert "is a point cache itself" in posecache("cache", "sample", target).err
    missing = posecache("cache", "sample", str(store.parent / "none.zarr"))
    assert "there is no such store" in missing.err
    assert "made-points.zarr" in missing.err
    unfinished(store)
    assert posecache("cache", "sample", str(store), "--out", f"{target}2").code == 3


@pytest.mark.slow
def test_a_picture_of_a_point_cache_shows_the_joints(store: Path, posecache: CommandLine) -> None:
    target = answer(posecache, "sample", str(store))["target"]
    for view, row in (("plain", "2"), ("flipped", "2"), ("plain", "5")):  # row 5 is not usable
        out = store.parent / "shown.png"
        found = answer(posecache, "show", target, "--row", row, "--view", view, "--out", str(out))
        assert Path(found["path"]).stat().st_size > 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("drawn")
def test_a_lifter_of_windows_is_trained_from_points(
    store: Path, posecache: CommandLine, tmp_path: Path
) -> None:
    target = answer(posecache, "sample", str(store))["target"]
    sets = (*TINY, f"store={target}", f"runs_root={tmp_path / 'runs'}")
    words = [word for text in sets for word in ("--set", text)]
    ended = posecache(
        "lift", "--lifter", "capf_temporal", *words, "--set", "lifter.num_frames=3", "--json"
    )
    assert ended.code == 0, ended.err
    (metrics_file,) = (tmp_path / "runs").glob("made-points-capf_temporal-*/metrics.json")
    metrics = json.loads(metrics_file.read_text())
    assert metrics["splits"]["test"]["frame_wise"]["mpjve_mm"] > 0
    refused = posecache("lift", "--lifter", "capf", *words)
    assert refused.code == 3
    assert "Set store= to the full store" in refused.err
