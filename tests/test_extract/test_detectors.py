from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cache import get_skeleton
from stages.extract.crops import CropConfig, crop_affine, warp
from stages.extract.datasets.pictures import read_picture
from stages.extract.detectors.base import DetectorError, FrozenDetector, Tap
from stages.extract.detectors.mmpose.hrnet import HRNET_TAPS, build_hrnet_config
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from stages.extract.detectors.placeholders import missing_packages, placeholders
from stages.extract.training.state import save_weights
from tests.test_extract.studio import DotDetector

H36M = get_skeleton("H36M17")
CONFIG = build_hrnet_config(H36M, base_channels=8, num_blocks=1)


@pytest.fixture(scope="module")
def narrow() -> MmposeTopdown:
    torch.manual_seed(0)
    return MmposeTopdown(CONFIG, None, threads=1)


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 256, 192, 3), dtype=np.uint8)


@pytest.mark.parametrize("kind", ["dots", "mmpose"])
def test_detectors_keep_the_contract(
    kind: str, narrow: MmposeTopdown, crops: NDArray[np.uint8]
) -> None:
    detector: FrozenDetector = DotDetector() if kind == "dots" else narrow
    assert isinstance(detector, FrozenDetector)
    before = crops.copy()
    found = detector.detect(crops)
    np.testing.assert_array_equal(crops, before)
    assert found.keypoints_crop_px.shape == (3, detector.skeleton.num_joints, 3)
    assert found.keypoints_crop_px.dtype == np.float32
    assert list(found.features) == [level.name for level in detector.levels]
    for level in detector.levels:
        maps = found.features[level.name]
        assert maps.shape == (3, *level.map_shape)
        assert maps.dtype == np.float32
        assert (level.height * level.stride, level.width * level.stride) == detector.input_size
    again = detector.detect(crops)
    for name, maps in again.features.items():
        np.testing.assert_array_equal(maps, found.features[name])
    assert detector.identity() == detector.identity()


def test_taps_are_the_fused_map_and_the_branches_before_fusion(
    narrow: MmposeTopdown, crops: NDArray[np.uint8]
) -> None:
    found = narrow.detect(crops).features
    inputs = torch.from_numpy(crops).float()
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    inputs = ((inputs - mean) / std).permute(0, 3, 1, 2)
    backbone: Any = narrow.model.backbone
    seen: dict[int, torch.Tensor] = {}
    hooks = [
        branch.register_forward_hook(lambda _m, _i, output, n=n: seen.update({n: output.clone()}))
        for n, branch in enumerate(backbone.stage4[0].branches)
    ]
    with torch.inference_mode():
        fused = backbone(inputs)[0]
    for hook in hooks:
        hook.remove()
    expected = {"x4": fused, "x8": seen[1], "x16": seen[2], "x32": seen[3]}
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value.permute(0, 2, 3, 1).numpy())
    assert not np.array_equal(found["x4"], seen[0].permute(0, 2, 3, 1).numpy())


@pytest.mark.parametrize("use_udp", [False, True])
def test_joints_and_crops_equal_mmpose_on_a_picture(
    test_data: Path, tmp_path: Path, use_udp: bool
) -> None:
    config = build_hrnet_config(get_skeleton("COCO17"), base_channels=8, num_blocks=1)
    if use_udp:
        codec = {"type": "UDPHeatmap", "input_size": (192, 256), "heatmap_size": (48, 64)}
        config["model"]["head"]["decoder"] = {**codec, "sigma": 2}
        config["test_dataloader"]["dataset"]["pipeline"][2]["use_udp"] = True
    torch.manual_seed(1)
    random = MmposeTopdown(config, None)
    state = dict(random.model.state_dict())
    state["head.final_layer.weight"] *= 300  # peaks far above 0, as trained heads have
    save_weights(state, tmp_path / "weights.safetensors")
    detector = MmposeTopdown(
        config, tmp_path / "weights.safetensors", threads=1, channels_last=False
    )
    with placeholders():
        inference = importlib.import_module("mmpose.apis.inference")
        importlib.import_module("mmpose.datasets")
    path = test_data / "mmpose-samples" / "coco" / "000000000785.jpg"
    box = np.array([280.5, 44.25, 499.0, 388.75], dtype=np.float32)  # as mmpose loads boxes
    model: Any = detector.model
    from mmengine.config import Config

    model.cfg, model.dataset_meta = Config(config), {}
    picture = read_picture(path)
    theirs = inference.inference_topdown(model, picture[..., ::-1].copy(), box[None])[0]
    affine = crop_affine(box, CropConfig(kind=detector.crop_rule.kind))
    crop = warp(picture, affine, (256, 192))
    np.testing.assert_array_equal(crop, _crop_of_mmpose(picture, box, use_udp))
    found = detector.detect(crop[None]).keypoints_crop_px[0]
    ours = cv2.transform(found[None, :, :2].astype(np.float64), cv2.invertAffineTransform(affine))
    np.testing.assert_allclose(ours[0], theirs.pred_instances.keypoints[0], atol=1e-3)
    np.testing.assert_allclose(
        found[:, 2], theirs.pred_instances.keypoint_scores[0], rtol=1e-5, atol=1e-6
    )
    assert np.ptp(ours[0], axis=0).min() > 5  # the joints are not all in one place


def _crop_of_mmpose(
    picture: NDArray[np.uint8], box: NDArray[np.float32], use_udp: bool
) -> NDArray[np.uint8]:
    with placeholders():
        transforms = importlib.import_module("mmpose.datasets.transforms")
    results = {"img": picture, "bbox": box[None]}
    results = transforms.GetBBoxCenterScale(padding=1.25).transform(results)
    results = transforms.TopdownAffine((192, 256), use_udp=use_udp).transform(results)
    return np.asarray(results["img"])


def test_weights_of_another_network_are_refused_with_the_keys(tmp_path: Path) -> None:
    wide = MmposeTopdown(build_hrnet_config(H36M, base_channels=8, num_blocks=2), None)
    save_weights(dict(wide.model.state_dict()), tmp_path / "wide.safetensors")
    with pytest.raises(DetectorError, match=r"unexpected: backbone\.\S+\.branches"):
        MmposeTopdown(CONFIG, tmp_path / "wide.safetensors")
    with pytest.raises(DetectorError, match="do not exist"):
        MmposeTopdown(CONFIG, tmp_path / "none.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"junk")
    with pytest.raises(DetectorError, match="cannot be read"):
        MmposeTopdown(CONFIG, tmp_path / "broken.safetensors")


def test_identity_follows_weights_and_not_their_file(narrow: MmposeTopdown, tmp_path: Path) -> None:
    state = {name: value.clone() for name, value in narrow.model.state_dict().items()}
    torch.save({"state_dict": state, "meta": {}}, tmp_path / "a.pth")
    plain = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    save_weights(plain, tmp_path / "b.safetensors")
    from_pth = MmposeTopdown(CONFIG, tmp_path / "a.pth").identity()
    assert from_pth == MmposeTopdown(CONFIG, tmp_path / "b.safetensors").identity()
    assert from_pth == narrow.identity()
    plain["backbone.conv1.weight"] = plain["backbone.conv1.weight"] + 1e-3
    save_weights(plain, tmp_path / "c.safetensors")
    assert MmposeTopdown(CONFIG, tmp_path / "c.safetensors").identity() != from_pth


def test_checkpoints_that_hold_more_than_tensors_are_not_run(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "meta": Path("x")}, tmp_path / "a.pth")
    with pytest.raises(DetectorError, match="more than tensors"):
        MmposeTopdown(CONFIG, tmp_path / "a.pth")


def test_wrong_taps_crops_and_configs_are_named(narrow: MmposeTopdown, tmp_path: Path) -> None:
    with pytest.raises(DetectorError, match=r"no module 'backbone\.stage9'"):
        MmposeTopdown(CONFIG, None, taps=(Tap("x4", "backbone.stage9", 4),))
    with pytest.raises(DetectorError, match="64x48, but stride 8"):
        MmposeTopdown(CONFIG, None, taps=(Tap("x8", "backbone", 8, 0),))
    with pytest.raises(DetectorError, match=r"crop\.input_size"):
        narrow.detect(np.zeros((1, 64, 64, 3), dtype=np.uint8))
    with pytest.raises(DetectorError, match="does not exist"):
        MmposeTopdown(tmp_path / "none.py", None)
    with pytest.raises(DetectorError, match="TopdownPoseEstimator"):
        MmposeTopdown({"model": {"type": "Other"}}, None)


def test_taps_of_the_published_lifter_fit_mmposes_hrnet_names() -> None:
    assert [tap.stride for tap in HRNET_TAPS] == [4, 8, 16, 32]
    with pytest.raises(ValueError, match="multiples of 32"):
        build_hrnet_config(H36M, input_size=(250, 192))


def test_placeholders_stand_in_only_while_active() -> None:
    missing = missing_packages()
    if "mmdet" not in missing:
        pytest.skip("mmdet is installed, so nothing stands in for it")
    with placeholders() as names:
        assert "mmdet" in names
        detection = importlib.import_module("mmdet.models.detectors")
        with pytest.raises(ImportError, match=r"mmdet.*not installed"):
            detection.SomeDetector()
        with pytest.raises(ImportError, match="mmdet"):
            _ = detection.SomeDetector.attribute
    assert not [name for name in sys.modules if name.split(".")[0] == "mmdet"]
    with pytest.raises(ImportError):
        importlib.import_module("mmdet")
