from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache.skeletons import get_skeleton
from pipeline.config import DetectorConfig, TapConfig
from pipeline.detectors import build_detector, require_channels, taps_of
from pipeline.errors import ConfigError
from stages.extract.crops import CropConfig, crop_affine, warp
from stages.extract.datasets.pictures import read_picture
from stages.extract.detectors.base import DetectorError, FrozenDetector, Tap
from stages.extract.detectors.mmpose.config import crop_rule_of, joints_of
from stages.extract.detectors.mmpose.network import build_pose_estimator
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from stages.extract.detectors.placeholders import placeholders
from tests.test_extract.presets import PRESETS, build_preset, network_config, read_preset

QUICK = ("dwpose-t", "litehrnet-18", "mobilenetv2", "rtmpose-t", "vitpose-s")
FAMILIES = {
    *("hrnet-w32", "hrnet-w48", "resnet-50", "resnet-101", "resnet-152"),
    *(f"rtmpose-{size}" for size in "tsml"),
    *("rtmpose-m-wholebody", "rtmpose-l-wholebody", "dwpose-m", "dwpose-l", "rtmw-m", "rtmw-l"),
    *(f"vitpose-{size}" for size in "sblh"),
    *("mobilenetv2", "litehrnet-18", "hrnet-w32-384x288", "rtmpose-s-halpe26"),
}


def test_the_detectors_of_the_field_are_presets() -> None:
    assert set(PRESETS) >= FAMILIES
    for name in PRESETS:
        assert read_preset(name)[0].name == name


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=() if n in FAMILIES else pytest.mark.slow) for n in PRESETS],
)
def test_a_preset_has_the_levels_joints_and_crops_it_states(name: str) -> None:
    detector, crop = read_preset(name)
    config = network_config(name)
    skeleton = joints_of(config, detector.skeleton)
    assert config.model.head.out_channels == skeleton.num_joints
    assert (crop_rule_of(config).kind, crop_rule_of(config).padding) == (crop.kind, crop.padding)
    width, height = config.codec.input_size
    assert (height, width) == crop.input_size
    # Shapes without memory or arithmetic, at the network's real size.
    with torch.device("meta"), torch.no_grad():
        network = build_pose_estimator(config)
        network.eval()
        seen = _captured(network, taps_of(detector))
        network.extract_feat(torch.zeros(1, 3, *crop.input_size))
    assert detector.taps is not None
    for tap in detector.taps:
        shape = (1, tap.channels, height // tap.stride, width // tap.stride)
        assert (tap.name, tuple(seen[tap.name].shape)) == (tap.name, shape)
    assert [tap.name for tap in detector.taps] == [f"x{tap.stride}" for tap in detector.taps]


def _captured(network: Any, taps: tuple[Tap, ...]) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def keep(tap: Tap) -> Any:
        return lambda _module, _inputs, output: seen.update(
            {tap.name: output if tap.index is None else output[tap.index]}
        )

    for tap in taps:
        network.get_submodule(tap.module).register_forward_hook(keep(tap))
    return seen


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in PRESETS]
)
def test_a_preset_is_built_and_run(name: str) -> None:
    stated, crop = read_preset(name)
    detector = build_preset(name)
    require_channels(stated, detector)
    assert isinstance(detector, FrozenDetector)
    json.dumps(detector.identity())
    assert detector.input_size == crop.input_size
    crops = np.random.default_rng(0).integers(0, 256, (1, *crop.input_size, 3), dtype=np.uint8)
    found = detector.detect(crops)
    assert found.keypoints_crop_px is not None
    assert found.keypoints_crop_px.shape == (1, detector.skeleton.num_joints, 3)
    assert np.isfinite(found.keypoints_crop_px).all()
    for level in detector.levels:
        maps = found.features[level.name]
        assert maps.shape == (1, *level.map_shape)
        assert np.isfinite(maps).all()
        assert maps.std() > 0


@pytest.mark.parametrize(
    "name",
    [
        "vitpose-s",  # UDP heatmaps
        "rtmpose-t",  # SimCC
        "dwpose-t",  # SimCC, 133 joints
        "rtmpose-m-384x288",
        pytest.param("rtmpose-t-halpe26", marks=pytest.mark.slow),
        pytest.param("hrnet-w32-384x288", marks=pytest.mark.slow),
        pytest.param("rtmw-m", marks=pytest.mark.slow),
        pytest.param("rtmw-l-384x288", marks=pytest.mark.slow),  # its decoder tells visibility too
        pytest.param("resnet-50", marks=pytest.mark.slow),
    ],
)
def test_joints_of_a_preset_equal_mmposes_on_a_picture(name: str, test_data: Path) -> None:
    _, rule = read_preset(name)
    torch.manual_seed(1)
    detector = build_preset(name, None, {"model.test_cfg.flip_test": False}, channels_last=False)
    head: Any = detector.model.head
    if hasattr(head, "final_layer") and hasattr(head, "deconv_layers"):
        head.final_layer.weight *= 300  # peaks far above 0, as trained heads have
    with placeholders():
        inference = importlib.import_module("mmpose.apis.inference")
        importlib.import_module("mmpose.datasets")
    picture = read_picture(test_data / "mmpose-samples" / "coco" / "000000000785.jpg")
    box = np.array([280.5, 44.25, 499.0, 388.75], dtype=np.float32)  # as mmpose loads boxes
    model: Any = detector.model
    model.cfg, model.dataset_meta = network_config(name), {}
    model.cfg.model.test_cfg.flip_test = False
    theirs = inference.inference_topdown(model, picture[..., ::-1].copy(), box[None])[0]
    expected = theirs.pred_instances.keypoints[0]

    ours, scores = _joints(detector, picture, box, rule)
    np.testing.assert_allclose(ours, expected, atol=1e-3)
    np.testing.assert_allclose(scores, theirs.pred_instances.keypoint_scores[0], rtol=1e-5)
    assert np.ptp(ours, axis=0).min() > 5  # the joints are not all in one place
    # The other crop rule gives other joints, so that the comparison can fail.
    other = "mmpose" if rule.kind == "mmpose-udp" else "mmpose-udp"
    elsewhere, _ = _joints(detector, picture, box, rule.model_copy(update={"kind": other}))
    assert np.abs(elsewhere - expected).max() > 1e-2


def _joints(
    detector: MmposeTopdown, picture: NDArray[np.uint8], box: NDArray[Any], rule: CropConfig
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:  # [J, 2] picture px, [J]
    affine = crop_affine(box, rule)
    found = detector.detect(warp(picture, affine, rule.input_size)[None]).keypoints_crop_px
    assert found is not None
    points = cv2.transform(found[:, :, :2].astype(np.float64), cv2.invertAffineTransform(affine))
    return points[0], found[0, :, 2]


@pytest.mark.parametrize(
    "name",
    [
        *("rtmpose-t", "mobilenetv2", "vitpose-s"),
        pytest.param("resnet-50", marks=pytest.mark.slow),
        pytest.param("rtmw-m", marks=pytest.mark.slow),
    ],
)
def test_levels_of_a_preset_are_the_networks_own_maps(name: str) -> None:
    detector = build_preset(name, channels_last=False)
    crops = np.random.default_rng(1).integers(0, 256, (2, *detector.input_size, 3), dtype=np.uint8)
    found = detector.detect(crops).features
    model: Any = detector.model
    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    inputs = ((torch.from_numpy(crops).float() - mean) / std).permute(0, 3, 1, 2).contiguous()
    with torch.inference_mode():
        maps = model.backbone(inputs)
        if name == "rtmw-m":
            stages = _stage_outputs(model.backbone, inputs)
            fused = model.neck(maps)
            expected = [stages[0], None, fused[0], fused[1]]
        else:
            expected = list(maps[: len(found)])
    if name in ("rtmpose-t", "resnet-50"):
        with torch.inference_mode():
            for stage, value in zip(_stage_outputs(model.backbone, inputs), expected, strict=True):
                assert value is not None
                np.testing.assert_array_equal(stage.numpy(), value.numpy())
    for level, value in zip(detector.levels, expected, strict=True):
        if value is not None:
            np.testing.assert_array_equal(
                found[level.name], value.permute(0, 2, 3, 1).numpy(), err_msg=level.name
            )


def _stage_outputs(backbone: Any, inputs: Tensor) -> list[Tensor]:
    seen: dict[str, Tensor] = {}
    names = [f"stage{i}" for i in range(1, 5)]
    if not hasattr(backbone, "stage1"):
        names = [f"layer{i}" for i in range(1, 5)]
    hooks = [
        getattr(backbone, name).register_forward_hook(
            lambda _module, _inputs, output, name=name: seen.update({name: output.clone()})
        )
        for name in names
    ]
    backbone(inputs)
    for hook in hooks:
        hook.remove()
    return [seen[name] for name in names]


def test_identity_follows_the_changes_of_the_config() -> None:
    torch.manual_seed(0)
    plain = build_preset("rtmpose-t").identity()
    torch.manual_seed(0)
    assert build_preset("rtmpose-t").identity() == plain
    torch.manual_seed(0)
    changed = build_preset("rtmpose-t", None, {"model.backbone.act_cfg": {"type": "ReLU"}})
    differ = {key for key, value in changed.identity().items() if value != plain[key]}
    assert differ == {"network"}


def test_a_change_that_the_config_does_not_have_is_refused_with_the_nearest_name() -> None:
    for changes, match in (
        ({"model.backbon.out_indices": [1]}, r"no 'model\.backbon\.out_indices'.*'backbone'"),
        ({"model.backbone.out_indeces": [1]}, "Did you mean 'out_indices'"),
        ({"model.backbone.type.x": 1}, "no 'model.backbone.type.x'"),
        ({"modell": {}}, "Did you mean 'model'"),
    ):
        with pytest.raises(DetectorError, match=match):
            build_preset("rtmpose-t", None, changes)


def test_a_part_that_cannot_be_built_is_named() -> None:
    with pytest.raises(DetectorError, match=r"cannot be built.*depth"):
        build_preset("resnet-50", None, {"model.backbone.depth": 51})
    with pytest.raises(DetectorError, match=r"cannot be built.*NoSuchNet"):
        build_preset("rtmpose-t", None, {"model.backbone.type": "NoSuchNet"})
    with pytest.raises(DetectorError, match="takes BGR"):
        build_preset("rtmpose-t", None, {"model.data_preprocessor.bgr_to_rgb": False})


def test_a_joint_set_of_another_size_than_the_heads_is_refused() -> None:
    config = network_config("rtmpose-t-halpe26")
    assert joints_of(config, None) == joints_of(config, "HALPE26") == get_skeleton("HALPE26")
    del config.test_dataloader.dataset["metainfo"]
    with pytest.raises(DetectorError, match="26 joints, but COCO17 has 17"):
        joints_of(config, "COCO17")
    with pytest.raises(DetectorError, match=r"does not tell.*detector\.skeleton"):
        joints_of(config, None)
    assert joints_of(config, "HALPE26") == get_skeleton("HALPE26")


def test_another_joint_set_of_as_many_joints_than_the_configs_is_refused() -> None:
    config = network_config("hrnet-w32")
    assert joints_of(config, None) == get_skeleton("COCO17")
    with pytest.raises(DetectorError, match=r"skeleton is H36M17, but .* joint set is COCO17"):
        joints_of(config, "H36M17")
    # A data set of the user's own, in COCO's format, with joints of its own.
    config.test_dataloader.dataset["metainfo"] = {"from_file": "my_joints.py"}
    with pytest.raises(DetectorError, match=r"does not tell.*detector\.skeleton"):
        joints_of(config, None)
    assert joints_of(config, "H36M17") == get_skeleton("H36M17")


def test_a_level_of_other_channels_than_its_tap_states_is_refused() -> None:
    stated, _ = read_preset("rtmpose-t")
    assert stated.taps is not None
    wrong = TapConfig(**{**stated.taps[0].model_dump(), "channels": 64})
    detector = build_preset("rtmpose-t")
    require_channels(stated, detector)
    with pytest.raises(DetectorError, match=r"x4.*has 48 channels, but its tap states 64"):
        require_channels(stated.model_copy(update={"taps": (wrong, *stated.taps[1:])}), detector)


def test_weights_that_are_published_for_another_preset_are_refused_by_its_name() -> None:
    stated, _ = read_preset("dwpose-m")
    theirs, _ = read_preset("rtmpose-m-wholebody")
    assert theirs.published is not None
    mixed = stated.model_copy(update={"weights": Path("here") / theirs.published.file})
    with pytest.raises(ConfigError, match="is published for rtmpose-m-wholebody; the weights of"):
        build_detector(mixed)
    own = stated.model_copy(update={"weights": Path("here") / "mine.pth"})
    with pytest.raises(DetectorError, match="no such file"):
        build_detector(own)


def test_without_weights_the_published_file_and_its_page_are_named() -> None:
    stated, _ = read_preset("rtmpose-m")
    with pytest.raises(ConfigError) as error:
        build_detector(stated)
    message = str(error.value)
    assert "rtmpose-m_simcc-body7_pt-body7_420e-256x192-e48f03d0_20230504.pth" in message
    assert "RTMPose, Body 2D, 17 Keypoints" in message
    assert "--set detector.weights=FILE" in message
    own = DetectorConfig(name="own", config="own.py")
    with pytest.raises(ConfigError, match=r"own: its weights.*--set detector\.weights=FILE"):
        build_detector(own)
