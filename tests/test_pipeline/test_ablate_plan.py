"""Which runs and stores a comparison has; nothing is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lifter import build_lifter
from lifter.registry import LIFTERS
from pipeline.ablation.plan import (
    Row,
    differences_of,
    plan_jobs,
    plan_rows,
    plan_tuning,
    stores_of,
)
from pipeline.config import RunConfig, load_config
from pipeline.errors import ConfigError
from pipeline.settings import shipped
from tests.test_pipeline.ablations import Place
from tests.test_pipeline.commands import CommandLine

LEVELS = ("x4", "x8", "x16", "x32")


def planned(ladder: str, *sets: str, preset: str = "default") -> tuple[RunConfig, dict[str, Row]]:
    config = load_config(preset, ladder=ladder, sets=sets)
    levels = {row.store: LEVELS for row in plan_rows(config)}
    return config, {row.name: row for row in plan_rows(config, levels)}


def test_the_ladders_are_the_agreed_ones() -> None:
    agreed = {"ladder", "levels", "points", "geometry", "keypoints", "features", "lifters"}
    assert set(shipped("ladders")) == agreed | {"temporal"}


@pytest.mark.parametrize("ladder", shipped("ladders"))
def test_every_ladder_says_its_name_and_its_lifters_can_be_built(ladder: str) -> None:
    config, rows = planned(ladder)
    assert config.comparison.ladder == ladder
    for row in rows.values():
        names = row.config.lifter.levels or LEVELS
        channels = [8] * len(names) if LIFTERS[row.config.lifter.name].uses_features else []
        assert build_lifter(row.config.lifter, level_channels=channels)
    assert all({a, b} <= rows.keys() for a, b in differences_of(config, rows.values()))


@pytest.mark.parametrize("ladder", shipped("ladders"))
def test_rows_of_a_ladder_differ_in_what_the_ladder_is_about_only(ladder: str) -> None:
    about = {
        "ladder": {"lifter", "train.data"},
        "levels": {"lifter"},
        "points": {"lifter"},
        "geometry": {"lifter"},
        "keypoints": {"lifter", "train.data"},
        "features": {"lifter", "train.data", "detector", "dataset"},
        "lifters": {"lifter"},
        "temporal": {"lifter"},
    }[ladder]
    config, rows = planned(ladder)
    for row in rows.values():
        tree, base = row.config.dump(), config.dump()
        base["train"]["threads"] = 1
        changed = {key for key in base if tree[key] != base[key]} - {"train"}
        changed |= {
            f"train.{key}" for key in base["train"] if tree["train"][key] != base["train"][key]
        }
        assert changed <= about, row.name


def test_the_steps_of_the_paper_are_four_lifters_and_a_control() -> None:
    config, rows = planned("ladder")
    assert {
        name: (row.config.lifter.name, row.config.lifter.fusion) for name, row in rows.items()
    } == {
        "pose_only": ("pose_only", "full"),
        "concat": ("capf", "concat"),
        "fusion": ("capf", "fusion"),
        "capf": ("capf", "full"),
        "capf_shuffled": ("capf", "full"),
    }
    assert rows["capf_shuffled"].config.train.data.context == "shuffled"
    assert len(plan_jobs(config, rows.values())) == 5 * 3
    pictured = [job.name for job in plan_jobs(config, rows.values()) if job.draws]
    assert pictured == ["capf seed 0"]


def test_each_level_of_the_store_is_left_out_in_turn() -> None:
    config, rows = planned("levels")
    out = {name: row.config.lifter.levels for name, row in rows.items()}
    assert out == {
        "all": None,
        "without x4": ("x8", "x16", "x32"),
        "without x8": ("x4", "x16", "x32"),
        "without x16": ("x4", "x8", "x32"),
        "without x32": ("x4", "x8", "x16"),
    }
    pairs = differences_of(config, rows.values())
    assert pairs == [(name, "all") for name in out if name != "all"]


def test_the_only_level_of_a_store_cannot_be_left_out() -> None:
    config = load_config(ladder="levels")
    store = plan_rows(config)[0].store
    with pytest.raises(ConfigError, match="has only the level x8"):
        plan_rows(config, {store: ("x8",)})


def test_points_and_heads_are_those_of_the_rows() -> None:
    _, rows = planned("points")
    found = {
        name: (r.config.lifter.num_points, r.config.lifter.deform_heads) for name, r in rows.items()
    }
    assert found == {f"points_{k}": (k, 4) for k in (1, 2, 4, 8)} | {
        f"heads_{m}": (4, m) for m in (1, 2, 4, 8)
    }


def test_random_features_have_a_store_of_their_own_and_the_keypoints_of_the_first() -> None:
    _, rows = planned("features", "data_root=DATA")
    own, first = rows["random_features"], rows["pose_features"]
    assert first.store == rows["pose_only"].store == "DATA/synthetic-hrnet-synthetic.zarr"
    assert own.store == "DATA/synthetic-hrnet-synthetic-random_features.zarr"
    assert own.config.detector.random_seed == 0
    assert own.config.dataset.keypoints["pose"].store == first.store
    assert own.config.train.data.keypoint_source == "imported:pose"
    assert list(stores_of([own, first])) == [first.store, own.store]


@pytest.mark.parametrize(
    "change",
    [
        "detector.name: hrnet-synthetic",
        "dataset.label: synthetic, detector.name: hrnet-synthetic",
    ],
)
def test_two_rows_may_not_mean_different_stores_by_one_name(change: str) -> None:
    row = f"comparison.rows.other={{lifter.name: capf, detector.random_seed: 0, {change}}}"
    with pytest.raises(ConfigError, match=r"pose_only and other.*detector.random_seed"):
        planned("ladder", row)


def test_rows_whose_names_differ_in_signs_have_stores_of_their_own_names() -> None:
    rows = [
        f"comparison.rows.{name}={{detector.random_seed: {seed}}}"
        for seed, name in enumerate(("r/a", "r a"))
    ]
    with pytest.raises(ConfigError, match=r"r/a and r a.*detector.random_seed"):
        planned("ladder", *rows)


def test_a_named_store_is_the_first_one_and_the_other_is_still_extracted() -> None:
    _, rows = planned("features", "data_root=DATA", "store=/elsewhere/recoded.zarr")
    assert rows["pose_features"].store == "/elsewhere/recoded.zarr"
    keypoints = rows["random_features"].config.dataset.keypoints["pose"]
    assert keypoints.store == "/elsewhere/recoded.zarr"
    assert rows["random_features"].store.startswith("DATA/")


def test_a_row_may_take_a_shipped_detector() -> None:
    row = (
        "comparison.rows.imagenet_features={lifter.name: capf, detector_file: imagenet-hrnet-w32,"
        " detector.weights: w.safetensors, dataset.keypoints.pose: {store: 'row:pose_features'},"
        " train.data.keypoint_source: 'imported:pose'}"
    )
    _, rows = planned("features", row)
    found = rows["imagenet_features"].config
    assert (found.detector.timm, found.detector.folder) == ("hrnet_w32.ms_in1k", None)
    assert found.detector.weights == Path("w.safetensors")
    assert found.crop.input_size == (256, 192)
    assert rows["imagenet_features"].store.endswith("synthetic-imagenet-hrnet-w32.zarr")


def test_windows_are_those_of_the_comparison_where_a_row_says_nothing() -> None:
    _, rows = planned("lifters", "comparison.num_frames=3")
    for row in rows.values():
        lifter = LIFTERS[row.config.lifter.name]
        assert row.config.lifter.num_frames == (3 if lifter.reads_windows else 1)
    _, rows = planned("temporal", "comparison.num_frames=5")
    found = {name: row.config.lifter.num_frames for name, row in rows.items()}
    assert all(name.endswith(f"_{frames}") for name, frames in found.items())


def test_a_row_in_nested_form_is_the_same_as_in_dotted_form() -> None:
    dotted = (
        "{lifter.name: poseformer, lifter.num_frames: 3, lifter.options: {}, train.lr: 0.5,"
        " train.data.context: none}"
    )
    nested = (
        "{lifter: {name: poseformer, num_frames: 3, options: {}},"
        " train: {lr: 0.5, data: {context: none}}}"
    )
    _, rows = planned("lifters", f"comparison.rows.a={dotted}", f"comparison.rows.b={nested}")
    assert rows["b"].config == rows["a"].config
    assert rows["b"].config.lifter.num_frames == 3
    assert rows["b"].config.lifter.width == rows["pose_only"].config.lifter.width != 128
    with pytest.raises(ConfigError, match=r"comparison\.lrs tunes"):
        planned("lifters", f"comparison.rows.b={nested}", "comparison.lrs=[0.1]")


def test_the_ladder_of_lifters_has_all_there_are() -> None:
    _, rows = planned("lifters")
    assert {row.config.lifter.name for row in rows.values()} == set(LIFTERS)


def test_a_ladder_goes_with_the_sizes_of_any_preset() -> None:
    _, rows = planned("ladder", "dataset.root=DIR", preset="reference")
    assert rows["capf"].config.lifter.width == 128
    assert rows["capf"].config.train.batch_size == 512


def test_seeds_come_from_the_preset_and_rows_from_the_ladder() -> None:
    config, rows = planned("geometry", preset="demo")
    assert config.comparison.seeds == (0, 1)
    assert list(rows) == ["published", "geometric"]


def test_every_rate_is_tried_with_the_first_seed() -> None:
    config, rows = planned("geometry", "comparison.lrs=[0.001, 0.002]")
    tried = [(job.name, job.config.train.lr) for job in plan_tuning(config, rows.values())]
    assert tried == [
        ("published seed 0 lr 0.001", 0.001),
        ("geometric seed 0 lr 0.001", 0.001),
        ("published seed 0 lr 0.002", 0.002),
        ("geometric seed 0 lr 0.002", 0.002),
    ]
    chosen = plan_jobs(config, rows.values(), {"published": 0.001, "geometric": 0.002})
    assert {(job.row, job.config.train.lr) for job in chosen} == {
        ("published", 0.001),
        ("geometric", 0.002),
    }


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["comparison.rows={a: {lifter.name: cafp}}"], "no lifter 'cafp'; did you mean 'capf'"),
        (["comparison.rows={}"], "comparison.rows is empty"),
        (["comparison.differences=[[capf, pose_onli]]"], "did you mean 'pose_only'"),
        (["comparison.pictures_of=cap"], "pictures_of: there is no row 'cap'; did you mean 'capf'"),
        (["comparison.without_each_level=cap"], "without_each_level: there is no row 'cap'"),
        (
            ["comparison.lrs=[0.1]", "comparison.rows.capf={train.lr: 0.2}"],
            "capf sets train.lr, which comparison.lrs tunes",
        ),
        (["comparison.rows.b={train.seed: 3}"], "b sets train.seed, which comparison.seeds gives"),
        (["comparison.rows.b={comparison.num_frames: 3}"], "b sets comparison, which is the same"),
        (
            ["comparison.rows.b={dataset.keypoints.k: {store: 'row:cap'}}"],
            "'row:cap' names no row .* did you mean 'capf'",
        ),
        (["comparison.rows.b={dataset.keypoints.k: {}}"], "name either a file or a store"),
        (
            ["comparison.rows.b={dataset.keypoints.k: {store: a, skeleton: H36M17}}"],
            "a store says its own",
        ),
        (["comparison.columns=[mpjpe]"], "comparison.columns"),
    ],
)
def test_what_is_not_there_is_refused_by_name(sets: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_rows(load_config(sets=sets))


def test_an_unknown_ladder_is_a_usage_error_with_a_suggestion(
    tmp_path: Path, posecache: CommandLine
) -> None:
    ended = Place(tmp_path, posecache)("leveles")
    assert ended.code == 2
    assert "no ladder 'leveles'; did you mean 'levels'" in ended.err


def test_a_dry_run_names_stores_and_finished_runs(tmp_path: Path, posecache: CommandLine) -> None:
    place = Place(tmp_path, posecache)
    one = ("comparison.seeds=[0]",)
    plan: dict[str, Any] = place.result("levels", "--dry-run", sets=one)
    assert plan["stores"] == {str(place.store): True}
    assert [(run["run"], run["finished"]) for run in plan["runs"]] == [
        ("all seed 0", False),
        ("without x8 seed 0", False),
        ("without x16 seed 0", False),
    ]
    assert not place.runs.exists()
    first = place.result("levels", sets=one)["rows"][0]["runs"][0]["run_dir"]
    other = ("comparison.seeds=[0, 1]",)
    runs = place.result("levels", "--dry-run", sets=other)["runs"]
    assert [run["finished"] for run in runs] == [True] * 3 + [False] * 3
    assert runs[0]["run_dir"] == first
