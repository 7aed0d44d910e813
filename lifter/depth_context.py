"""The depth distributions of a batch, as anchors read them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lifter.depth_distribution import DepthMaps, DepthNet, at_joints, sample_distributions


@dataclass(frozen=True)
class Depths:
    """Distributions over N bins that span [-range, range] metres around the root."""

    joint_logits: tuple[Tensor, ...]  # one or two of [B, J, N]: each kind of maps at the 2D joints
    tokens: Tensor  # [B, J, D]
    local_maps: DepthMaps | None  # probabilities that local anchors read
    local_groups: Tensor  # [local anchors] which of their maps each of them reads
    global_maps: DepthMaps | None  # probabilities that global anchors read
    range_m: float

    def at(self, points: Tensor, depths_m: Tensor) -> Tensor:  # [B, A, S, 2], [B, A, S]
        """Returns the distributions of the anchors at S points each, [B, A, S].

        Relative to a uniform distribution: the probability times N. The local anchors come first.
        """
        num_local = len(self.local_groups)
        only = self.local_groups.new_zeros(points.shape[1] - num_local)
        found = [
            maps.values.shape[-1]
            * sample_distributions(
                maps, groups, points[:, part], depths_m[:, part], range_m=self.range_m
            )
            for maps, groups, part in (
                (self.local_maps, self.local_groups, slice(num_local)),
                (self.global_maps, only, slice(num_local, None)),
            )
            if maps is not None and len(groups)
        ]
        return torch.cat(found, dim=1)


class DepthContext(nn.Module):
    """Finds the depth distributions on a level, and makes tokens of those at the 2D joints.

    A token is a linear map of the cumulative distribution at the nearest cell, plus a learned
    vector of its joint.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        *,
        num_joints: int,
        num_bins: int,
        range_m: float,
        window: int | None,
        joint_wise: bool,
        with_global: bool,
    ) -> None:
        super().__init__()
        self.range_m, self.window = range_m, window
        self.net = DepthNet(
            channels,
            width,
            num_joints=num_joints,
            num_bins=num_bins,
            own=joint_wise,
            shared=with_global or not joint_wise,
        )
        self.token = nn.Linear(num_bins, width)
        self.joint = nn.Parameter(0.02 * torch.randn(num_joints, width))

    def forward(
        self,
        level: Tensor,  # [B, H, W, C], any dtype of deform_sample
        reference_points: Tensor,  # [B, J, 2] unit frame
        scale: Tensor | None,  # [C], of an 8-bit map
        joint_of_local: Tensor,  # [local anchors]
    ) -> Depths:
        """Returns the distributions; local anchors read those of their joint if there are any."""
        dtype = reference_points.dtype
        values = level.to(dtype)
        own, shared = self.net(
            values if scale is None else values * scale, reference_points, self.window
        )
        logits = tuple(at_joints(each, reference_points) for each in (own, shared) if each)
        cumulative = logits[0].softmax(dim=-1, dtype=dtype).cumsum(dim=-1)
        global_maps = shared and shared.probabilities(dtype)
        return Depths(
            joint_logits=logits,
            tokens=self.token(cumulative) + self.joint,
            local_maps=own.probabilities(dtype) if own else global_maps,
            local_groups=joint_of_local if own else torch.zeros_like(joint_of_local),
            global_maps=global_maps,
            range_m=self.range_m,
        )
