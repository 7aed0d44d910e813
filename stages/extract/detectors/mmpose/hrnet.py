"""A narrow HRNet for detectors that are trained here, as a plain mmpose config."""

from __future__ import annotations

from typing import Any

from cache.skeletons import Skeleton
from stages.extract.detectors.base import Tap

HEATMAP_STRIDE = 4
IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)

HRNET_TAPS = (
    Tap("x4", "backbone", 4, index=0),
    Tap("x8", "backbone.stage4.0.branches.1", 8),
    Tap("x16", "backbone.stage4.0.branches.2", 16),
    Tap("x32", "backbone.stage4.0.branches.3", 32),
)
"""Where the published lifter reads HRNet: the map that the heatmap head sees, and the three coarser
branches of the first stage-4 module *before* its fusion (pose checkpoints hold no weights for fused
coarse outputs)."""


def build_hrnet_config(
    skeleton: Skeleton,
    *,
    base_channels: int = 16,
    bottleneck_channels: int = 16,
    num_bottlenecks: int = 1,
    num_modules: tuple[int, int, int] = (1, 1, 1),
    num_blocks: int = 2,
    input_size: tuple[int, int] = (256, 192),
    sigma: float = 1.5,
    blur_kernel_size: int = 7,
) -> dict[str, Any]:
    """Return the mmpose config of a top-down estimator: a narrow HRNet and a heatmap head.

    Args:
        skeleton: joints of the head, in order.
        base_channels: channels of the finest branch; the coarser ones have 2, 4 and 8 times as
            many.
        bottleneck_channels: width inside stage 1's bottlenecks (their output is four times as
            wide).
        num_bottlenecks: bottlenecks of stage 1.
        num_modules: modules of stages 2, 3 and 4.
        num_blocks: basic blocks per branch and module.
        input_size: (H, W) px of the crop, multiples of 32.
        sigma: width of the training target in heatmap cells.
        blur_kernel_size: smoothing before the decoder's sub-cell refinement, in heatmap cells.
    """
    height, width = input_size
    if height % 32 or width % 32:
        raise ValueError(
            f"input_size {input_size} must be multiples of 32 (H, W): the coarsest level has "
            "stride 32."
        )
    channels = tuple(base_channels * 2**i for i in range(4))
    stages = {
        f"stage{number}": {
            "num_modules": modules,
            "num_branches": number,
            "block": "BASIC",
            "num_blocks": (num_blocks,) * number,
            "num_channels": channels[:number],
        }
        for number, modules in zip((2, 3, 4), num_modules, strict=True)
    }
    stage1 = {
        "num_modules": 1,
        "num_branches": 1,
        "block": "BOTTLENECK",
        "num_blocks": (num_bottlenecks,),
        "num_channels": (bottleneck_channels,),
    }
    backbone: dict[str, Any] = {
        "type": "HRNet",
        "in_channels": 3,
        "extra": {"stage1": stage1, **stages},
    }
    codec = {
        "type": "MSRAHeatmap",
        "input_size": (width, height),
        "heatmap_size": (width // HEATMAP_STRIDE, height // HEATMAP_STRIDE),
        "sigma": sigma,
        "unbiased": True,
        "blur_kernel_size": blur_kernel_size,
    }
    model = {
        "type": "TopdownPoseEstimator",
        "data_preprocessor": {
            "type": "PoseDataPreprocessor",
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "bgr_to_rgb": True,
        },
        "backbone": backbone,
        "head": {
            "type": "HeatmapHead",
            "in_channels": base_channels,
            "out_channels": skeleton.num_joints,
            "deconv_out_channels": None,
            "loss": {"type": "KeypointMSELoss", "use_target_weight": True},
            "decoder": codec,
        },
        "test_cfg": {"flip_test": False},
    }
    pipeline = [
        {"type": "LoadImage"},
        {"type": "GetBBoxCenterScale", "padding": 1.25},
        {"type": "TopdownAffine", "input_size": (width, height)},
        {"type": "PackPoseInputs"},
    ]
    return {
        "default_scope": "mmpose",
        "model": model,
        "codec": codec,
        "test_dataloader": {"dataset": {"type": "CocoDataset", "pipeline": pipeline}},
        "posecache": {"skeleton": skeleton.name},
    }
