"""Maps of a trained and of a random network at the same 2D joints, from pictures to the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheReader
from pipeline.config import load_config, with_settings
from pipeline.detectors import build_detector
from pipeline.errors import ConfigError
from stages.extract.chunks import ExtractConfig, extract
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.imports import KeypointStore, WithKeypoints
from tests.test_extract.studio import DotDetector, write_layout
from tests.test_lift.stores import write_store
from tests.test_pipeline.commands import CommandLine
from tests.test_pipeline.drawn_store import SPLITS, Drawn

SETS = (
    "dataset.name=human36m",
    "extract.workers=1",
    "extract.batch_size=2",
    "extract.loader_workers=0",
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "train.steps=2",
    "train.batch_size=2",
    "train.warmup_steps=0",
    "comparison.workers=1",
    "comparison.seeds=[0]",
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source") / "drawn-detector.zarr"
    write_store(folder, SPLITS)
    return folder


@pytest.mark.slow
def test_only_the_maps_differ_between_trained_and_random_weights(
    tmp_path: Path, posecache: CommandLine
) -> None:
    write_layout(tmp_path / "tiny")
    roots = {"data_root": "data", "runs_root": "runs", "dataset.root": "tiny"}
    sets = [*SETS, *(f"{key}={tmp_path / folder}" for key, folder in roots.items())]
    options = [part for text in sets for part in ("--set", text)]

    plan = posecache("ablate", "features", "--dry-run", *options)
    assert plan.code == 0, plan.err
    text = " ".join(plan.out.split())
    assert "random_features.zarr: to extract after" in text
    assert "random_features seed 0: to train" in text
    assert not (tmp_path / "data").exists()

    ended = posecache("ablate", "features", "--json", *options)
    assert ended.code == 0, ended.err
    result: dict[str, Any] = json.loads(ended.out)
    trained, random = (
        CacheReader(tmp_path / "data" / f"human36m-{name}.zarr")
        for name in ("hrnet-synthetic", "hrnet-synthetic-random_features")
    )
    for view in (0, 1):
        found = trained.keypoints("detector", view)
        assert found.tobytes() == random.keypoints("imported:pose", view).tobytes()
        assert not np.array_equal(found, random.keypoints("detector", view))
    assert not np.array_equal(trained.keypoints("detector", 0), trained.keypoints("detector", 1))
    assert not np.array_equal(trained.read([0])["x8"], random.read([0])["x8"])
    assert random.feature_identity["detector"]["random_seed"] == 0
    assert "random_seed" not in trained.feature_identity["detector"]

    named = {row["name"]: (row["keypoint_source"], row["feature_source"]) for row in result["rows"]}
    assert named == {
        "pose_only": ("detector", "-"),
        "pose_features": ("detector", "hrnet-synthetic"),
        "random_features": ("imported:pose", "hrnet-synthetic-random_features"),
    }
    saved = result["saved"]
    assert [store["num_runs"] for store in saved["stores"].values()] == [2, 1]
    times = [store["extract_s"] for store in saved["stores"].values()]
    assert saved["saved_s"] == pytest.approx(times[0])
    again = posecache("ablate", "features", *options)
    assert again.out.count("nothing to extract") == 2
    assert "3 runs from 2 extractions" in again.out


@pytest.mark.slow
def test_an_extraction_stores_the_keypoints_of_another_store_bit_for_bit(tmp_path: Path) -> None:
    write_layout(tmp_path / "tiny")
    dataset = Human36m(tmp_path / "tiny")
    config = ExtractConfig(batch_size=2, workers=1, loader_workers=0)
    first, second = (str(tmp_path / f"{name}.zarr") for name in ("first", "second"))
    extract(dataset, DotDetector(), CropConfig(), first, config)
    imports = WithKeypoints(dataset, {"pose": KeypointStore(first)})
    extract(imports, DotDetector(), CropConfig(), second, config)
    source, target = CacheReader(first), CacheReader(second)
    for view in (0, 1):
        found = source.keypoints("detector", view)
        assert found.tobytes() == target.keypoints("imported:pose", view).tobytes()
    assert not np.array_equal(source.keypoints("detector", 0), source.keypoints("detector", 1))


@pytest.mark.slow
def test_random_weights_follow_from_the_seed_and_have_the_scale_of_trained_ones() -> None:
    config = load_config()
    crops = np.random.default_rng(0).integers(0, 255, (2, 192, 160, 3), dtype=np.uint8)
    found = {}
    for seed in (None, 0, 1):
        named = with_settings(config, {"detector.random_seed": seed})
        found[seed] = build_detector(named.detector)
    again = build_detector(with_settings(config, {"detector.random_seed": 0}).detector)
    assert again.identity() == found[0].identity()
    assert found[0].identity()["weights"] != found[1].identity()["weights"]
    trained, random = found[None].detect(crops).features, found[0].detect(crops).features
    for name, maps in trained.items():
        assert 0.2 < random[name].std() / maps.std() < 5


def test_networks_of_the_user_draw_their_own_weights() -> None:
    sets = ["detector.folder=null", "detector.module=a.py:b", "detector.random_seed=0"]
    with pytest.raises(ConfigError, match="do not read random_seed"):
        build_detector(load_config(sets=sets).detector)


def test_keypoints_of_a_store_come_in_both_views_bit_for_bit(source: Path) -> None:
    dataset = WithKeypoints(Drawn(), {"pose": KeypointStore(str(source))})
    found = dataset.imported_keypoints()["pose"]
    reader = CacheReader(source)
    placed = found.of_rows([3, 0], 2)
    for view in (0, 1):
        expected = reader.keypoints("detector", view)
        assert expected[[3, 0]].tobytes() == placed[:, view].tobytes()
    assert found.skeleton == "H36M17"


def test_a_store_without_a_flipped_view_gives_its_plain_keypoints_to_both(tmp_path: Path) -> None:
    reader = write_store(tmp_path / "plain.zarr", SPLITS, views=("plain",))
    given = {"pose": KeypointStore(str(tmp_path / "plain.zarr"))}
    found = WithKeypoints(Drawn(), given).imported_keypoints()["pose"]
    assert found.flipped is None
    plain = reader.keypoints("detector")
    np.testing.assert_array_equal(found.of_rows(range(len(plain)), 2), plain[:, None].repeat(2, 1))


def test_the_flipped_keypoints_are_part_of_the_identity(source: Path, tmp_path: Path) -> None:
    write_store(tmp_path / "plain.zarr", SPLITS, views=("plain",))
    both, plain = (
        WithKeypoints(Drawn(), {"pose": KeypointStore(str(path))}).content_identity()
        for path in (source, tmp_path / "plain.zarr")
    )
    assert both["keypoint_files"]["pose"] != plain["keypoint_files"]["pose"]


@pytest.mark.parametrize(
    ("given", "seed", "message"),
    [
        ({"source": "gt"}, 1, "is of other frames than this dataset: seed: stored 0, asked 1"),
        ({"source": "imported:cpn"}, 0, "dataset.keypoints.pose: .* has no keypoints"),
        ({"location": "nowhere.zarr"}, 0, "dataset.keypoints.pose: no store at .*nowhere.zarr"),
    ],
)
def test_keypoints_of_other_frames_or_of_no_store_are_refused(
    source: Path, given: dict[str, str], seed: int, message: str
) -> None:
    store = KeypointStore(**{"location": str(source), **given})
    with pytest.raises(DatasetError, match=message):
        WithKeypoints(Drawn(seed), {"pose": store}).imported_keypoints()


def test_rows_in_another_order_are_refused(tmp_path: Path) -> None:
    class Renamed(Drawn):
        def plan(self) -> Any:
            plan = super().plan()
            plan.index["item"].codes[:2] = plan.index["item"].codes[:2][::-1]
            return plan

    write_store(tmp_path / "made.zarr", SPLITS)
    given = {"pose": KeypointStore(str(tmp_path / "made.zarr"))}
    with pytest.raises(DatasetError, match="the names of the rows"):
        WithKeypoints(Renamed(), given).imported_keypoints()
