"""Person detectors: mmpose's one-stage estimators as mmpose runs them, and your own."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from stages.extract.boxes.one_stage import OneStagePeople
from stages.extract.boxes.people import (
    PeopleConfig,
    checked_boxes,
    detector_identity,
    named_detector,
)
from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.mmpose.network import import_mmpose
from stages.extract.detectors.placeholders import placeholders
from stages.extract.training.state import save_weights
from tests.test_extract.layouts.people import picture

CONFIGS = {
    "rtmo": "rtmo/body7/rtmo-t_8xb32-600e_body7-416x416.py",
    "yoloxpose": "yoloxpose/coco/yoloxpose_tiny_4xb64-300e_coco-416.py",
}


def configs() -> Path:
    import_mmpose()
    import mmpose

    return Path(mmpose.__file__).parent / ".mim" / "configs"


def shipped(kind: str) -> Any:
    """An mmpose config for a small input, which lets random networks find something."""
    from mmengine.config import Config

    config = Config.fromfile(str(configs() / "body_2d_keypoint" / CONFIGS[kind]))
    for step in config.test_dataloader.dataset.pipeline:
        if step["type"] == "BottomupResize":
            step["input_size"] = (160, 160)
    config.model.test_cfg.score_thr = 0.3
    config.model.test_cfg.input_size = (160, 160)
    return config


@pytest.fixture(params=CONFIGS)
def one_stage(request: pytest.FixtureRequest) -> tuple[OneStagePeople, Any]:
    torch.manual_seed(0)
    config = shipped(request.param)
    return OneStagePeople(config, None), config


@pytest.mark.parametrize("size", [(120, 200), (300, 170)])
def test_boxes_are_those_of_mmposes_own_inference(
    one_stage: tuple[OneStagePeople, Any], size: tuple[int, int]
) -> None:
    detector, config = one_stage
    shown = picture(size, seed=3)
    ours = detector(shown)
    with placeholders():
        inference = importlib.import_module("mmpose.apis.inference")
        datasets = importlib.import_module("mmpose.datasets.datasets.utils")
    model = detector._model
    model.cfg = config
    joints = configs() / "_base_" / "datasets" / "coco.py"
    model.dataset_meta = datasets.parse_pose_metainfo({"from_file": str(joints)})
    theirs = inference.inference_bottomup(model, shown[..., ::-1].copy())[0].pred_instances
    assert len(ours) > 3
    np.testing.assert_array_equal(ours[:, :4], theirs.bboxes.astype(np.float64))
    np.testing.assert_array_equal(ours[:, 4], theirs.bbox_scores.astype(np.float64))
    swapped = detector(shown[..., ::-1].copy())
    assert swapped.shape != ours.shape or not np.array_equal(swapped, ours)


def test_weights_decide_the_identity_and_their_file_format_does_not(tmp_path: Path) -> None:
    config = shipped("rtmo")
    torch.manual_seed(1)
    first = OneStagePeople(config, None)
    state = first._model.state_dict()
    save_weights(state, tmp_path / "a.safetensors")
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "a.pth")
    for name in ("a.safetensors", "a.pth"):
        assert OneStagePeople(config, tmp_path / name).identity() == first.identity()
    assert OneStagePeople(config, None).identity() != first.identity()
    assert first.identity()["detector"] == "RTMOHead"
    del state["neck.projector.convs.0.conv.weight"]
    torch.save(state, tmp_path / "less.pth")
    with pytest.raises(DetectorError, match=r"1 missing: neck\.projector"):
        OneStagePeople(config, tmp_path / "less.pth")


def test_configs_that_find_no_boxes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"head is 'HeatmapHead'; .*rtmo or"):
        OneStagePeople({"model": {"head": {"type": "HeatmapHead"}}}, None)
    with pytest.raises(DetectorError, match=r"none\.py does not exist"):
        OneStagePeople(tmp_path / "none.py", None)
    with pytest.raises(DetectorError, match="no BottomupResize"):
        OneStagePeople({"model": {"head": {"type": "RTMOHead"}}}, None)


def one_person(shown: NDArray[np.uint8]) -> NDArray[np.float64]:
    return np.array([[0, 0, shown.shape[1] / 2, 10, 0.9]])


def test_any_function_can_find_persons() -> None:
    name = f"{__name__}:one_person"
    detector = named_detector(name)
    assert detector(np.zeros((20, 30, 3), dtype=np.uint8)).tolist() == [[0, 0, 15, 10, 0.9]]
    assert detector_identity(detector, name) == {"detector": name}


@pytest.mark.parametrize("name", ["nowhere:f", f"{__name__}:nothing", __name__, ":f"])
def test_a_function_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(DetectorError, match=r"cannot be imported.*module:function"):
        named_detector(name)
    with pytest.raises(DetectorError, match="is not callable"):
        named_detector(f"{__name__}:CONFIGS")


def test_boxes_end_at_the_picture_and_empty_ones_are_left_out() -> None:
    found = [[-5, -5, 50, 50, 0.9], [40, 0, 60, 10, 0.8], [3, 4, 5, 6, 0.7]]
    boxes = checked_boxes(found, (20, 30), "x")
    assert boxes.tolist() == [[0, 0, 30, 20, 0.9], [3, 4, 5, 6, 0.7]]
    assert checked_boxes([], (20, 30), "x").shape == (0, 5)


@pytest.mark.parametrize("found", [[[1, 2, 3, 4]], [[1, 2, 3, np.nan, 1]], [1, 2, 3, 4, 5]])
def test_what_is_not_a_box_is_refused(found: Any) -> None:
    with pytest.raises(DetectorError, match=r"expected finite numbers \[P, 5\]"):
        checked_boxes(found, (20, 30), "x")
    with pytest.raises(DetectorError, match="end before they start"):
        checked_boxes([[9, 2, 3, 4, 1]], (20, 30), "x")


def test_two_detectors_at_once_are_refused() -> None:
    with pytest.raises(ValueError, match="exclude each other"):
        PeopleConfig(config="a.py", detector="a:b")
