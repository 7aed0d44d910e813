"""Lifters that know the answer, or a known part of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from stages.lift.feed.samples import Samples


class Oracle(nn.Module):
    """Finds the sample by its keypoints and returns its target plus `offset_m` of its view."""

    def __init__(
        self,
        samples: Samples,
        *,
        offset_m: Tensor | None = None,
        flipped_offset_m: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.keypoints = torch.from_numpy(samples.keypoints_2d)  # [V, n, J, 2]
        targets = torch.from_numpy(samples.target_m).clone()
        if offset_m is not None:
            targets[0] += offset_m
        if flipped_offset_m is not None:
            targets[1] += flipped_offset_m
        self.targets = targets.flatten(0, 1)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2]
        reference_points: Tensor,  # noqa: ARG002 - every lifter is called alike
        levels: Sequence[Tensor],  # noqa: ARG002
    ) -> Tensor:
        known = self.keypoints.flatten(0, 1).flatten(1)
        return self.targets[torch.cdist(keypoints_2d.flatten(1), known).argmin(dim=1)]


class Symmetric(nn.Module):
    """Any function that commutes with mirroring: x of the output is odd in x, y and z are even."""

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2]
        reference_points: Tensor,  # noqa: ARG002
        levels: Sequence[Tensor],  # noqa: ARG002
    ) -> Tensor:
        x, y = keypoints_2d.unbind(-1)
        return torch.stack([x * (1.0 + y), y.square(), x.square() - y], dim=-1)


class Lopsided(Symmetric):
    """The same, with a part that mirroring does not change the sign of."""

    def forward(
        self, keypoints_2d: Tensor, reference_points: Tensor, levels: Sequence[Tensor]
    ) -> Tensor:
        output = super().forward(keypoints_2d, reference_points, levels)
        return output + torch.tensor([0.1, 0.0, 0.0])
