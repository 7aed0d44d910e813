"""Networks without joints and imported keypoints, from pictures to the table of results."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheReader
from pipeline.config import load_config
from pipeline.detectors import build_detector
from pipeline.errors import ConfigError
from pipeline.feature_sources import feature_source_files
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.detectors.base import DetectorError
from tests.test_extract.studio import write_layout
from tests.test_pipeline.commands import CommandLine, Ended

NETWORK = """
from torch import nn

class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fine = nn.Conv2d(3, channels, 8, stride=8)
        self.coarse = nn.Conv2d(channels, channels, 2, stride=2)
        self.input_size, self.mean, self.std = (64, 48), (0.5,) * 3, (0.25,) * 3
    def forward(self, crops):
        fine = self.fine(crops)
        return {"x8": fine, "x16": self.coarse(fine)}

def build(channels=4):
    return Net(channels)
"""
TINY = (
    "extract.workers=1",
    "extract.batch_size=2",
    "extract.loader_workers=0",
    "lifter.width=8",
    "lifter.depth=1",
    "lifter.num_heads=2",
    "lifter.deform_heads=2",
    "lifter.num_points=1",
    "train.steps=2",
    "train.batch_size=2",
    "train.warmup_steps=0",
    "train.threads=1",
    "train.data.keypoint_source=imported:cpn",
    "crop.input_size=[64, 48]",
)


class Place:
    """A dataset on disk, keypoints that another detector found in it, and a network of the user."""

    def __init__(self, folder: Path, posecache: CommandLine) -> None:
        self.folder, self._posecache = folder, posecache
        write_layout(folder / "tiny")
        plan = Human36m(folder / "tiny").plan()
        self.items = plan.index["item"].words()
        self.points = plan.joints_2d_px + np.float32(0.5)
        self.write_keypoints(slice(None))
        (folder / "net.py").write_text(NETWORK)

    def write_keypoints(self, rows: slice) -> None:
        np.savez(self.folder / "cpn.npz", items=self.items[rows], keypoints=self.points[rows])

    def sets(self, **changes: Any) -> tuple[str, ...]:
        config = {
            "data_root": self.folder / "data",
            "runs_root": self.folder / "runs",
            "dataset.name": "human36m",
            "dataset.root": self.folder / "tiny",
            "dataset.keypoints.cpn.file": self.folder / "cpn.npz",
            "dataset.keypoints.cpn.skeleton": "H36M17",
            "detector.name": "own",
            "detector.folder": "null",
            "detector.module": f"{self.folder / 'net.py'}:build",
            **changes,
        }
        return (*TINY, *(f"{key}={value}" for key, value in config.items()))

    def __call__(self, *words: str, **changes: Any) -> Ended:
        options = [part for text in self.sets(**changes) for part in ("--set", text)]
        return self._posecache(*words, *options)


@pytest.fixture
def place(tmp_path: Path, posecache: CommandLine) -> Place:
    return Place(tmp_path, posecache)


@pytest.mark.slow
def test_a_lifter_learns_from_own_maps_and_imported_keypoints(
    place: Place, posecache: CommandLine
) -> None:
    ended = place("extract")
    assert ended.code == 0, ended.err
    store = place.folder / "data" / "human36m-own.zarr"
    reader = CacheReader(store)
    assert reader.spec.keypoint_sources == ("gt", "imported:cpn")
    assert reader.feature_identity["detector"]["model"] == "net.py:build"
    np.testing.assert_array_equal(reader.keypoints("imported:cpn")[..., :2], place.points)
    assert [level.channels for level in reader.levels.values()] == [4, 4]
    assert np.abs(reader.read([0])["x16"]).sum() > 0
    assert "up to date" in place("extract").out

    ended = place("lift", "--json")
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)["metrics"]
    assert found["keypoint_source"] == "imported:cpn"
    assert found["feature_source"].startswith("torch-module net.py:build ")
    assert found["box_source"] == "gt2d"
    assert found["notes"] == []

    run = json.loads(place("lift", "--json").out)["run_dir"]
    shown = posecache("evaluate", run).out
    line = " ".join(shown.split())
    for part in ("keypoints imported:cpn", "features torch-module net.py:build", "boxes gt2d"):
        assert part in line
    refused = posecache("evaluate", run, "--set", "evaluate.keypoint_source=gt")
    assert refused.code == 4
    assert "trained on 'imported:cpn', asked for 'gt'" in refused.err


def test_a_picture_of_a_store_needs_no_keypoint_file(place: Place, posecache: CommandLine) -> None:
    assert place("extract").code == 0
    (place.folder / "cpn.npz").unlink()
    store, picture = place.folder / "data" / "human36m-own.zarr", place.folder / "frame.png"
    shown = posecache("cache", "show", str(store), "--out", str(picture), "--json")
    assert shown.code == 0, shown.err
    assert json.loads(shown.out)["no_picture"] is None
    assert picture.is_file()


def test_changed_networks_and_keypoints_are_not_the_store(place: Place) -> None:
    assert place("extract").code == 0
    file = place.folder / "net.py"
    for change in ("options", "source", "keypoints"):
        changes: dict[str, Any] = {}
        before = file.read_text()
        if change == "options":
            changes["detector.options.channels"] = 3
        elif change == "source":
            file.write_text(before + "# another word\n")
        else:
            place.points += np.float32(0.25)
            place.write_keypoints(slice(None))
        ended = place("extract", **changes)
        file.write_text(before)
        assert ended.code == 4, change
        assert {"options": "channels", "source": "detector.source", "keypoints": "cpn"}[
            change
        ] in ended.err


def test_rows_that_a_file_lacks_stop_the_extraction_unless_told(place: Place) -> None:
    place.write_keypoints(slice(1, None))
    ended = place("extract")
    assert ended.code == 3
    assert "no keypoints of 1 of 9 rows" in ended.err
    told = {"dataset.keypoints.cpn.missing": "invalid"}
    assert place("extract", **told).code == 0
    ended = place("lift", "--json", **told)
    assert ended.code == 0, ended.err
    assert json.loads(ended.out)["dropped_rows"]["train"] == {"NO_KEYPOINTS": 1}


def test_joints_of_a_network_without_joints_are_refused_by_name(place: Place) -> None:
    ended = place("lift", **{"train.data.keypoint_source": "detector"})
    assert ended.code == 3
    said = " ".join(ended.err.split())
    assert "has no keypoints 'detector'; it has gt, imported:cpn" in said
    assert "Set train.data.keypoint_source" in said


@pytest.mark.slow
def test_a_comparison_names_the_sources_of_every_row(place: Place) -> None:
    rows = {
        "comparison.rows": "{capf: {lifter.name: capf}, pose: {lifter.name: pose_only}}",
        "comparison.differences": "[]",
        "comparison.pictures_of": "null",
        "comparison.seeds": "[0]",
        "comparison.workers": 1,
    }
    ended = place("ablate", "--json", **rows)
    assert ended.code == 0, ended.err
    result = json.loads(ended.out)
    assert result["keypoint_errors"] == {}
    named = [(row["keypoint_source"], row["feature_source"], row["box_source"])
             for row in result["rows"]]  # fmt: skip
    assert named == [("imported:cpn", "own", "gt2d"), ("imported:cpn", "-", "gt2d")]
    assert place("ablate", **rows).code == 0


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["detector.timm=resnet18"], "never downloaded. Give the checkpoint"),
        (["detector.timm=resnet18", "detector.module=a.py:b"], "timm and module each name"),
        (["detector.module=a.py:b", "detector.skeleton=COCO17"], "do not read skeleton"),
        (["detector.folder=shipped:synthetic", "detector.options.a=1"], "does not read options"),
    ],
)
def test_detectors_that_name_too_much_or_too_little_are_refused(
    sets: list[str], message: str
) -> None:
    config = load_config(sets=["detector.folder=null", "detector.config=null", *sets])
    with pytest.raises(ConfigError, match=message):
        build_detector(config.detector)


def test_missing_weights_are_named_before_the_network_is_built(tmp_path: Path) -> None:
    config = load_config(
        sets=["detector.folder=null", "detector.timm=resnet18",
              f"detector.weights={tmp_path / 'no.pth'}"]
    )  # fmt: skip
    with pytest.raises(DetectorError, match=r"no\.pth: detector .* has no such file"):
        feature_source_files(config.detector)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["imagenet-resnet50", "imagenet-hrnet-w32", "dinov2-vits14"])
def test_shipped_backbones_fit_their_crops(name: str, tmp_path: Path) -> None:
    if importlib.util.find_spec("timm") is None:
        pytest.skip("timm is not installed")
    from stages.extract.detectors.features.timm_backbone import build_timm_backbone

    config = load_config(detector=name, sets=[f"detector.weights={tmp_path / 'w.safetensors'}"])
    options = dict(config.detector.options)
    if name.startswith("dinov2"):
        options |= {"embed_dim": 24, "depth": 3, "num_heads": 2}
    source = build_timm_backbone(config.detector.timm or "", options)
    assert source.input_size == config.crop.input_size
    assert [level.stride for level in source.levels] == (
        [14] if name.startswith("dinov2") else [4, 8, 16, 32]
    )
