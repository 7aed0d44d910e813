"""The published training design: the frozen network runs on the pictures of every step.

All modules here are called as the lifters of this project are, so that the same training step
drives them: `model(keypoints_2d, reference_points, levels)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from benchmarks.published.lifter import PublishedLifter
from pipeline.config import DetectorConfig
from pipeline.detectors import detector_files
from stages.extract.detectors.mmpose.hrnet import HRNET_TAPS, IMAGENET_MEAN, IMAGENET_STD

HRNET_W32 = (
    "mmpose:body_2d_keypoint/topdown_heatmap/coco/td-hm_hrnet-w32_8xb64-210e_coco-256x192.py"
)
W32_CHANNELS = (32, 64, 128, 256)
Layout = Literal["channels_last", "contiguous"]
LAYOUTS: tuple[Layout, ...] = ("channels_last", "contiguous")


class FrozenHRNet(nn.Module):
    """The network without its head, in evaluation mode whatever it is asked, channels last.

    Args:
        config: of mmpose, a file or a mapping; None for HRNet-W32 at 256 x 192 px as mmpose ships
            it. Its weights are random: time does not depend on them.
        half: hold the weights of its convolutions in bfloat16, for use under autocast, which would
            convert them anew in every step: it remembers those only that learn.
        folded: take the frozen normalisations into the convolutions before them, which saves a pass
            over every map; the same network to rounding.
    """

    def __init__(
        self,
        config: Path | Mapping[str, Any] | None = None,
        *,
        half: bool = False,
        folded: bool = False,
    ) -> None:
        super().__init__()
        # mmpose takes seconds to import.
        from stages.extract.detectors.mmpose.config import load_config
        from stages.extract.detectors.mmpose.network import build_pose_estimator

        if config is None:
            named = DetectorConfig(name="hrnet-w32", config=HRNET_W32, weights=Path(__file__))
            config, _ = detector_files(named)
        backbone = build_pose_estimator(load_config(config)).backbone
        backbone.eval()
        if folded:
            fold_norms(backbone)
        self.backbone = backbone.to(memory_format=torch.channels_last)
        if half:
            for module in self.backbone.modules():
                if isinstance(module, nn.Conv2d):
                    module.to(torch.bfloat16)
        self.requires_grad_(False)
        self.train(False)
        mean, std = torch.tensor(IMAGENET_MEAN), torch.tensor(IMAGENET_STD)
        self.register_buffer("mean", mean, persistent=False)
        self.register_buffer("std", std, persistent=False)
        self._taps: dict[str, Tensor] = {}
        for tap in HRNET_TAPS[1:]:
            module = self.backbone.get_submodule(tap.module.removeprefix("backbone."))
            module.register_forward_hook(self._hook(tap.name))

    def train(self, mode: bool = True) -> Self:  # noqa: ARG002 - frozen
        """Stays in evaluation mode."""
        self.training = False
        self.backbone.train(False)  # of mmpose's HRNet it returns None
        return self

    @torch.no_grad()
    def forward(self, crops: Tensor) -> list[Tensor]:  # uint8 [B, H, W, 3] RGB -> L [B, C, h, w]
        """Returns the maps that the published lifter reads, finest first.

        They are no inference tensors: the lifter's backward pass reads them.
        """
        pixels = (crops.float() - self.mean) / self.std
        # Channels last in memory as they come: no copy.
        finest = self.backbone(pixels.permute(0, 3, 1, 2))[0]
        return [finest, *(self._taps.pop(tap.name) for tap in HRNET_TAPS[1:])]

    def _hook(self, name: str) -> Any:
        def keep(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            self._taps[name] = output

        return keep


def fold_norms(module: nn.Module) -> None:
    """Takes every batch norm that follows a convolution, child after child, into it; in place."""
    convolution: tuple[str, nn.Conv2d] | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.Conv2d):
            convolution = (name, child)
        elif isinstance(child, nn.BatchNorm2d) and convolution is not None:
            setattr(module, convolution[0], fuse_conv_bn_eval(convolution[1], child))
            setattr(module, name, nn.Identity())
            convolution = None
        else:
            fold_norms(child)


class PublishedDesign(nn.Module):
    """The frozen network and the published lifter; `levels` is one tensor of crops."""

    def __init__(self, network: FrozenHRNet, lifter: PublishedLifter, *, layout: Layout) -> None:
        super().__init__()
        self.network, self.lifter, self.layout = network, lifter, layout

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2]
        reference_points: Tensor,  # [B, J, 2]
        levels: Sequence[Tensor],  # one of uint8 [B, H, W, 3], RGB
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres relative to the root."""
        (crops,) = levels
        # Once per step, if they are bfloat16: each of the five readings would convert them again.
        maps = [laid_out(each.float(), self.layout) for each in self.network(crops)]
        output: Tensor = self.lifter(keypoints_2d, reference_points, maps)
        return output


class PublishedOnMaps(nn.Module):
    """The published lifter on maps from a cache: what is left to gain is the sampling."""

    def __init__(self, lifter: PublishedLifter, *, layout: Layout) -> None:
        super().__init__()
        self.lifter, self.layout = lifter, layout

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2]
        reference_points: Tensor,  # [B, J, 2]
        levels: Sequence[Tensor],  # L maps [B, H, W, C]
    ) -> Tensor:  # [B, J, 3]
        """Returns the joints in metres relative to the root."""
        # Once per step, as above.
        maps = [laid_out(each.permute(0, 3, 1, 2).float(), self.layout) for each in levels]
        output: Tensor = self.lifter(keypoints_2d, reference_points, maps)
        return output


def laid_out(level: Tensor, layout: Layout) -> Tensor:  # [B, C, H, W] -> the same
    """Returns the map in a memory format."""
    formats = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
    return level.contiguous(memory_format=formats[layout])
