from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.mmpose.vit import VisionTransformer
from tests.test_extract.presets import network_config

TINY = {"embed_dims": 24, "num_layers": 2, "num_heads": 3, "feedforward_channels": 48}
# Names in the checkpoints of mmpose's ViTPose, without "backbone."; `N` counts the layers.
CHECKPOINT_NAMES = {
    "pos_embed",
    *(f"patch_embed.projection.{part}" for part in ("weight", "bias")),
    *(f"layers.N.{norm}.{part}" for norm in ("ln1", "ln2") for part in ("weight", "bias")),
    *(
        f"layers.N.attn.{linear}.{part}"
        for linear in ("qkv", "proj")
        for part in ("weight", "bias")
    ),
    *(f"layers.N.ffn.layers.{i}.{part}" for i in ("0.0", "1") for part in ("weight", "bias")),
    *(f"ln1.{part}" for part in ("weight", "bias")),
}


def tiny(**changes: Any) -> VisionTransformer:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"img_size": (64, 48), "patch_cfg": {"padding": 2}, **changes}
    return VisionTransformer(TINY, **arguments).eval()


def test_its_tensors_are_named_as_in_published_checkpoints() -> None:
    state = tiny().state_dict()
    named = {
        ".".join("N" if part.isdigit() and i == 1 else part for i, part in enumerate(parts))
        for parts in (name.split(".") for name in state)
    }
    assert named == CHECKPOINT_NAMES
    assert state["pos_embed"].shape == (1, 4 * 3, 24)
    assert state["layers.1.attn.qkv.weight"].shape == (72, 24)


@torch.no_grad()
def test_it_equals_pytorchs_own_encoder_with_the_same_weights() -> None:
    ours = tiny()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.5)
    crops = torch.randn(2, 3, 64, 48)
    patches = nn.functional.unfold(
        nn.functional.pad(crops, (2,) * 4), 16, stride=16
    )  # [B, 768, 12]
    projection = ours.patch_embed.projection
    tokens = patches.transpose(1, 2) @ projection.weight.flatten(1).T + projection.bias
    tokens = tokens + ours.pos_embed
    for layer in ours.layers:
        tokens = _encoder_layer(layer.state_dict())(tokens)
    expected = nn.functional.layer_norm(tokens, (24,), ours.ln1.weight, ours.ln1.bias, 1e-6)
    (found,) = ours(crops)
    assert found.shape == (2, 24, 4, 3)
    torch.testing.assert_close(found.flatten(2).transpose(1, 2), expected, atol=1e-4, rtol=1e-4)
    ours.layers[0].ln2.bias += 1
    (other,) = ours(crops)
    assert not torch.allclose(other, found, atol=1e-2)


def _encoder_layer(state: dict[str, Tensor]) -> nn.Module:
    layer = nn.TransformerEncoderLayer(
        24, 3, 48, dropout=0, activation="gelu", norm_first=True, batch_first=True
    ).eval()
    layer.norm1.eps = layer.norm2.eps = 1e-6
    names = {
        "norm1": "ln1",
        "norm2": "ln2",
        "self_attn.out_proj": "attn.proj",
        "linear1": "ffn.layers.0.0",
        "linear2": "ffn.layers.1",
    }
    renamed = {
        f"{theirs}.{part}": state[f"{ours}.{part}"]
        for theirs, ours in names.items()
        for part in ("weight", "bias")
    }
    renamed["self_attn.in_proj_weight"] = state["attn.qkv.weight"]
    renamed["self_attn.in_proj_bias"] = state["attn.qkv.bias"]
    layer.load_state_dict(renamed)
    return layer


@pytest.mark.parametrize(
    ("name", "num_layers", "width"),
    [
        ("vitpose-s", 12, 384),
        ("vitpose-b", 12, 768),
        ("vitpose-l", 24, 1024),
        ("vitpose-h", 32, 1280),
    ],
)
def test_the_sizes_are_those_of_vitpose(name: str, num_layers: int, width: int) -> None:
    config = dict(network_config(name).model.backbone)
    assert config.pop("type") == "mmpretrain.VisionTransformer"
    with torch.device("meta"):
        backbone = VisionTransformer(**{**config, "init_cfg": None})
    per_layer = (
        12 * width**2 + 13 * width
    )  # four of attention, eight of a hidden layer of 4 * width
    around = (3 * 16 * 16 + 1) * width + 16 * 12 * width + 2 * width
    num_parameters = sum(parameter.numel() for parameter in backbone.parameters())
    assert num_parameters == num_layers * per_layer + around


def test_other_transformers_than_vitposes_are_refused() -> None:
    with pytest.raises(DetectorError, match=r"unknown arch 'giant'.*base, large, huge"):
        VisionTransformer("giant")
    for changes in (
        {"with_cls_token": True},
        {"out_type": "cls_token"},
        {"patch_cfg": {"bias": False}},
    ):
        with pytest.raises(DetectorError, match="ViTPose's backbone only"):
            tiny(**changes)
    with pytest.raises(DetectorError, match="set its img_size"):
        tiny()(torch.zeros(1, 3, 64, 64))
