from __future__ import annotations

import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.detectors.features import timm_backbone
from stages.extract.detectors.features.timm_backbone import build_timm_backbone

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("timm") is None, reason="timm is not installed"
)
Checkpoint = Callable[..., tuple[Any, Path]]


@pytest.fixture
def checkpoint(tmp_path: Path) -> Checkpoint:
    """Writes a checkpoint of a whole network with random weights; returns the network, too."""

    def write(name: str, **options: Any) -> tuple[Any, Path]:
        torch.manual_seed(3)
        network = timm_backbone._import_timm().create_model(name, **options).eval()
        for key, value in network.state_dict().items():
            if value.is_floating_point() and value.ndim == 1:
                torch.nn.init.uniform_(value, 0.5, 1.5)  # norms that do something
            assert value.numel(), key
        path = tmp_path / f"{name}.safetensors"
        save_file({key: value.contiguous() for key, value in network.state_dict().items()}, path)
        return network, path

    return write


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)


def normalised(crops: NDArray[np.uint8]) -> torch.Tensor:
    """ImageNet's normalisation, written anew."""
    scaled = crops.astype(np.float64) / 255
    scaled = (scaled - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    return torch.from_numpy(scaled.transpose(0, 3, 1, 2).astype(np.float32))


def test_levels_are_what_the_whole_network_computes(
    checkpoint: Checkpoint, crops: NDArray[np.uint8]
) -> None:
    whole, path = checkpoint("resnet18", num_classes=7)
    source = build_timm_backbone("resnet18", {"input_size": [64, 64]}, path, threads=1)
    assert isinstance(source, FrozenDetector)
    assert source.skeleton is None
    assert [(level.name, level.channels, level.stride) for level in source.levels] == [
        ("x4", 64, 4), ("x8", 128, 8), ("x16", 256, 16), ("x32", 512, 32),
    ]  # fmt: skip
    found = source.detect(crops)
    assert found.keypoints_crop_px is None
    with torch.inference_mode():
        maps = whole.maxpool(whole.act1(whole.bn1(whole.conv1(normalised(crops)))))
        for stage, name in ((1, "x4"), (2, "x8"), (3, "x16"), (4, "x32")):
            maps = getattr(whole, f"layer{stage}")(maps)
            expected = maps.permute(0, 2, 3, 1).numpy()
            scale = np.abs(expected).max()
            np.testing.assert_allclose(found.features[name], expected, atol=1e-5 * scale)
            assert scale > 0.1


@pytest.mark.parametrize(
    ("name", "options", "strides", "channels"),
    [
        ("hrnet_w18_small", {"feature_location": ""}, [4, 8, 16, 32], [16, 32, 64, 128]),
        ("hrnet_w18_small", {"out_indices": [1, 3]}, [4, 16], [128, 512]),
        ("convnext_atto", {}, [4, 8, 16, 32], [40, 80, 160, 320]),
        ("swin_tiny_patch4_window7_224", {"window_size": 2}, [4, 8, 16, 32], [96, 192, 384, 768]),
    ],
)
def test_levels_equal_timms_own_features(
    checkpoint: Checkpoint,
    crops: NDArray[np.uint8],
    name: str,
    options: dict[str, Any],
    strides: list[int],
    channels: list[int],
) -> None:
    sized = {"img_size": (64, 64)} if name.startswith("swin") else {}
    kept = {key: value for key, value in options.items() if key == "window_size"}
    _, path = checkpoint(name, **kept, **sized)
    source = build_timm_backbone(name, {"input_size": [64, 64], **options}, path, threads=1)
    assert [level.stride for level in source.levels] == strides
    assert [level.channels for level in source.levels] == channels
    # Through timm's own way of loading a file.
    overlay = {"file": str(path)}
    own = timm_backbone._import_timm().create_model(
        name,
        features_only=True,
        pretrained=True,
        pretrained_cfg_overlay=overlay,
        **options,
        **sized,
    )
    with torch.inference_mode():
        answers = own.eval()(normalised(crops))
    by_stride = dict(zip(own.feature_info.reduction(), answers, strict=True))
    found = source.detect(crops)
    for level in source.levels:
        expected = by_stride[level.stride].numpy()
        if expected.shape[1] == level.channels and not name.startswith("swin"):
            expected = expected.transpose(0, 2, 3, 1)
        np.testing.assert_allclose(
            found.features[level.name], expected, atol=1e-4 * np.abs(expected).max()
        )


def test_a_transformer_has_one_level_of_its_last_block(checkpoint: Checkpoint) -> None:
    # DINOv2's layout, at the size of the crops; its checkpoint is of another size.
    layout = {"embed_dim": 24, "depth": 3, "num_heads": 2}
    _, path = checkpoint("vit_small_patch14_dinov2", img_size=(70, 70), **layout)
    options = {"input_size": [126, 98], **layout}
    source = build_timm_backbone("vit_small_patch14_dinov2", options, path, threads=1)
    assert [(level.name, level.map_shape) for level in source.levels] == [("x14", (9, 7, 24))]
    both = build_timm_backbone(
        "vit_small_patch14_dinov2", {**options, "out_indices": [0, 2]}, path, threads=1
    )
    assert [level.name for level in both.levels] == ["x14_b0", "x14_b2"]
    crop = np.random.default_rng(1).integers(0, 256, (1, 126, 98, 3), dtype=np.uint8)
    np.testing.assert_allclose(
        both.detect(crop).features["x14_b2"], source.detect(crop).features["x14"], atol=1e-5
    )


def test_identity_follows_the_weights_and_the_options(checkpoint: Checkpoint) -> None:
    _, path = checkpoint("resnet18")
    asked = {"input_size": [64, 64], "out_indices": [2]}
    identity = build_timm_backbone("resnet18", asked, path).identity()
    assert (identity["kind"], identity["model"]) == ("timm", "resnet18")
    assert identity["options"] == {"out_indices": [2]}
    assert str(path.parent) not in str(identity)
    assert build_timm_backbone("resnet18", asked, path).identity() == identity
    other = build_timm_backbone("resnet18", {**asked, "output_stride": 16}, path).identity()
    assert other["options"] != identity["options"]
    assert other["weights"] == identity["weights"]


@pytest.mark.parametrize("fault", ["missing", "unexpected", "shape", "other network"])
def test_weights_that_do_not_fit_are_refused(
    checkpoint: Checkpoint, tmp_path: Path, fault: str
) -> None:
    network, path = checkpoint("resnet18")
    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    if fault == "missing":
        del state["layer3.0.conv1.weight"]
    elif fault == "unexpected":
        state["layer3.0.conv9.weight"] = torch.zeros(2)
    elif fault == "shape":
        state["layer3.0.conv1.weight"] = torch.zeros(2, 2, 3, 3)
    else:
        state = {"module.weight": torch.zeros(2)}
    path = tmp_path / "bad.safetensors"
    save_file(state, path)
    with pytest.raises(DetectorError, match=r"bad\.safetensors does not fit timm's resnet18"):
        build_timm_backbone("resnet18", {"input_size": [64, 64]}, path)


def test_features_with_other_tensors_than_the_weights_are_refused(checkpoint: Checkpoint) -> None:
    network, _ = checkpoint("resnet18")
    state = dict(network.state_dict())
    timm_backbone._refuse_random("resnet18", network, state)
    state["layer1.0.conv1.weight"] = state["layer1.0.conv1.weight"] + 1
    with pytest.raises(DetectorError, match=r"1 tensors of its features.*layer1\.0\.conv1"):
        timm_backbone._refuse_random("resnet18", network, state)


@pytest.mark.parametrize("name", ["resnt50", "hf-hub:timm/resnet50", "local-dir:/tmp", "a/b"])
def test_unknown_names_and_addresses_are_refused(name: str) -> None:
    with pytest.raises(DetectorError, match="has no such model"):
        build_timm_backbone(name)


def test_a_checkpoint_without_tensors_never_falls_back_to_a_download(tmp_path: Path) -> None:
    path = tmp_path / "empty.safetensors"
    save_file({}, path)
    with pytest.raises(DetectorError, match="holds no tensors"):
        build_timm_backbone("resnet18", {}, path)


def test_options_that_the_network_does_not_take_are_refused() -> None:
    with pytest.raises(DetectorError, match=r"resnet18 cannot be built with .*colour"):
        build_timm_backbone("resnet18", {"colour": "red"})


def test_missing_timm_is_said_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(DetectorError, match="pip install --no-deps 'timm=="):
        timm_backbone._import_timm.__wrapped__()


def test_importing_timm_leaves_no_stand_in_behind() -> None:
    timm_backbone._import_timm()
    if importlib.util.find_spec("torchvision") is None:
        assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"]
    assert logging.getLogger("timm.models._builder").level != logging.ERROR
