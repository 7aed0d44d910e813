"""What of a pose estimator stays in float32 where the rest is rounded to 16 bits.

A heatmap's peak moves when its values are rounded: of bfloat16's 8 bits little is left between two
neighbouring cells. The last layers cost next to nothing and decide most of that.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map


def float32_modules_of(estimator: Any) -> tuple[str, ...]:
    """Return names of modules of an mmpose top-down estimator.

    Of a heatmap head the last layer, else the whole head; of HRNet also the finest branch of the
    last module, which the heatmaps are made of.
    """
    head, backbone = estimator.head, estimator.backbone
    has_layer = type(head).__name__ == "HeatmapHead" and isinstance(head.final_layer, nn.Conv2d)
    names = ["head.final_layer" if has_layer else "head"]
    stage = getattr(backbone, "stage4", None)
    if isinstance(stage, nn.Sequential) and hasattr(stage[-1], "branches"):
        names.append(f"backbone.stage4.{len(stage) - 1}.branches.0")
    return tuple(names)


def run_in_float32(module: nn.Module, device_type: str) -> None:
    """Make a module compute in float32 under any autocast; its inputs are converted."""
    inner = module.forward

    def forward(*inputs: Any) -> Any:
        exact = tree_map(lambda leaf: leaf.float() if isinstance(leaf, Tensor) else leaf, inputs)
        with torch.autocast(device_type, enabled=False):
            return inner(*exact)

    module.forward = forward
