"""Heatmaps of a detector in training: start, loss, and the export that mmpose's decoders expect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from stages.extract.detectors.mmpose.config import load_config
from stages.extract.detectors.mmpose.hrnet import HEATMAP_STRIDE, IMAGENET_MEAN, IMAGENET_STD
from stages.extract.detectors.mmpose.network import build_pose_estimator


def heatmap_loss(logits: Tensor, joints_crop_px: Tensor, weights: Tensor, sigma: float) -> Tensor:
    """Return the weighted mean cross-entropy between spatial softmax and a normalised Gaussian.

    Args:
        logits: [B, J, H, W].
        joints_crop_px: [B, J, 2].
        weights: [B, J].
        sigma: in cells of the map.
    """
    height, width = logits.shape[-2:]
    centres = joints_crop_px / HEATMAP_STRIDE
    across = torch.arange(width, dtype=logits.dtype, device=logits.device)
    down = torch.arange(height, dtype=logits.dtype, device=logits.device)
    # softmax of the exponent: a Gaussian that sums to 1 however much of it lies outside
    along_x = torch.softmax(
        -((across - centres[..., :1]) ** 2) / (2 * sigma**2), dim=-1
    )  # [B, J, W]
    along_y = torch.softmax(-((down - centres[..., 1:]) ** 2) / (2 * sigma**2), dim=-1)  # [B, J, H]
    expected = torch.einsum("bjhw,bjh,bjw->bj", logits, along_y, along_x)
    loss = torch.logsumexp(logits.flatten(2), dim=-1) - expected
    return (loss * weights).sum() / weights.sum().clamp(min=1.0)


def initialise(model: Any) -> None:
    """Start convolutions from Kaiming-normal weights, the head near zero."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(model.head.final_layer.weight, std=0.01)


@torch.no_grad()
def rescale_head(
    model: Any, inputs: Tensor, joints_crop_px: Tensor, weights: Tensor, sigma: float
) -> None:
    """Take a head as `decodable_state` exports it back to the scale at which its loss is least.

    Args:
        model: mmpose estimator with exported weights.
        inputs: [B, 3, H, W] normalised crops.
        joints_crop_px: [B, J, 2].
        weights: [B, J].
        sigma: in cells of the map.
    """
    model.eval()
    maps = model.head(model.backbone(inputs))
    factors = [2.0**power for power in range(8)]
    losses = [
        float(heatmap_loss(factor * maps, joints_crop_px, weights, sigma)) for factor in factors
    ]
    layer = model.head.final_layer
    layer.weight.mul_(factors[int(np.argmin(losses))])
    layer.bias.zero_()  # a softmax over places does not see it


def normalised(crops: NDArray[np.uint8]) -> Tensor:
    """Return crops [B, H, W, 3] as float32 [B, 3, H, W], channels last in memory."""
    pixels = torch.from_numpy(crops).float()
    return ((pixels - torch.tensor(IMAGENET_MEAN)) / torch.tensor(IMAGENET_STD)).permute(0, 3, 1, 2)


@torch.inference_mode()
def decodable_state(
    model_config: Mapping[str, Any], state: Mapping[str, Tensor], crops: NDArray[np.uint8]
) -> dict[str, Tensor]:
    """Return the weights with a head whose maps are positive, with peaks near 1.

    A softmax does not see a constant added to its map, and the place of the peak does not depend
    on a positive factor either. mmpose's decoders take a peak of at most 0 for "no joint", and
    refine it on the logarithm of the map, which is nearly linear around 1.

    Args:
        model_config: of the network.
        state: its weights.
        crops: [B, H, W, 3] to measure the range of the maps on.
    """
    model = build_pose_estimator(load_config(model_config))
    model.load_state_dict(state)
    model.eval()
    maps = model.head(model.backbone(normalised(crops)))
    lowest = maps.transpose(0, 1).flatten(1).min(dim=1).values
    peak = maps.flatten(2).max(dim=2).values.median(dim=0).values
    # Half the seen range is left below the lowest value for pictures that go further down.
    span = (1.5 * (peak - lowest)).clamp(min=1e-6)
    layer = model.head.final_layer
    layer.weight.mul_(1 / span[:, None, None, None])
    layer.bias.copy_((layer.bias - peak) / span + 1)
    return {name: value.clone().contiguous() for name, value in model.state_dict().items()}
