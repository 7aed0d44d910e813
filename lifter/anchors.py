"""Anchors: points in space from which joints are found as weighted means of points near them.

Points are metres in camera axes, relative to the root joint. `A` is the number of anchors.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn

from lifter.errors import LifterConfigError

AnchorSet = Literal["both", "global", "local"]


def root_plane_grid(side: int, *, extent_m: float) -> Tensor:  # [side * side, 3]
    """Returns points at depth 0 on a square grid, row by row; the outermost are at +-`extent_m`."""
    axis = torch.linspace(-extent_m, extent_m, side) if side > 1 else torch.zeros(1)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack((x, y, torch.zeros_like(x)), dim=-1).flatten(0, 1)


def anchors_to_joints(
    anchors_m: Tensor,  # [B, A, 3]
    scores: Tensor,  # [B, A, J]
    offsets_m: Tensor,  # [B, A, J, 3]
) -> Tensor:  # [B, J, 3]
    """Returns P_j = sum over a of softmax_a(score_aj) (P_a + O_aj)."""
    weights = scores.softmax(dim=1)
    # (P_a + O_aj) apart: anchors are the same for all joints, so their sum is one product.
    from_anchors = weights.transpose(1, 2) @ anchors_m
    return from_anchors + (weights[..., None] * offsets_m).sum(dim=1)


class Anchors(nn.Module):
    """Places the anchors of a 2D pose, and says where on the maps they lie.

    The maps and the anchors are related by one affine map per pose: a point u of the unit frame of
    the crop lies at (u - c) * m metres from the root, where c is the mean of the 2D joints and m
    are metres per unit: a learned factor per axis, at first 1 m for the height of the crop and, as
    its cells are square, W/H m for the width.
    """

    global_grid_m: Tensor

    def __init__(
        self,
        *,
        num_joints: int,
        num_local: int,
        grid_side: int,
        extent_m: float,
        which: AnchorSet,
    ) -> None:
        super().__init__()
        if which not in get_args(AnchorSet):
            raise LifterConfigError(f"anchors must be one of {get_args(AnchorSet)}, got {which!r}.")
        if num_local < 1 or grid_side < 1:
            raise LifterConfigError(
                f"num_local_anchors={num_local} and global_grid={grid_side} must be at least 1:"
                " leave a kind of anchors out with anchors=global or anchors=local."
            )
        self.num_joints = num_joints
        self.num_local = num_local if which != "global" else 0  # per joint
        grid_m = root_plane_grid(grid_side, extent_m=extent_m)
        if which == "local":
            grid_m = grid_m[:0]
        self.register_buffer("global_grid_m", grid_m, persistent=False)
        self.log_metres_per_unit = nn.Parameter(torch.zeros(2))
        self.local_offsets = (
            nn.Linear(4 * num_joints, num_joints * self.num_local * 3) if self.num_local else None
        )

    def joint_of_local(self) -> Tensor:  # [J K] int64
        """Returns the joint of each local anchor."""
        joints = torch.arange(self.num_joints, device=self.global_grid_m.device)
        return joints.repeat_interleave(self.num_local)

    def forward(
        self,
        poses_2d: Tensor,  # [B, 4 J] both frames of the 2D pose
        reference_points: Tensor,  # [B, J, 2] unit frame
        aspect: float,  # W / H of the crop
    ) -> tuple[Tensor, Tensor]:
        """Returns the anchors [B, A, 3] in metres and, in the unit frame, their points [B, A, 2].

        First come the local anchors, joint by joint, then the global ones. Local anchors are
        (j_x, j_y, 0) + delta_jk, the deltas being a linear map of the 2D pose.
        """
        batch = reference_points.shape[0]
        centre = reference_points.mean(dim=1, keepdim=True)  # [B, 1, 2]
        x_factor, y_factor = self.log_metres_per_unit.exp().unbind()
        metres_per_unit = torch.stack((x_factor * aspect, y_factor))
        anchors_m = self.global_grid_m.expand(batch, -1, -1)
        if self.local_offsets is not None:
            flat_m = (reference_points - centre) * metres_per_unit  # [B, J, 2]
            joints_m = torch.cat((flat_m, torch.zeros_like(flat_m[..., :1])), dim=-1)
            offsets_m = self.local_offsets(poses_2d)  # [B, J K 3] -> [B, J, K, 3]
            offsets_m = offsets_m.view(batch, self.num_joints, self.num_local, 3)
            local_m = (joints_m[:, :, None] + offsets_m).flatten(1, 2)
            anchors_m = torch.cat((local_m, anchors_m), dim=1)
        return anchors_m, centre + anchors_m[..., :2] / metres_per_unit


class AnchorQueries(nn.Module):
    """What an anchor is before it has looked at anything.

    An embedding of its position, one of the whole 2D pose, and for local anchors a learned vector.
    """

    def __init__(self, width: int, *, num_joints: int, num_local: int) -> None:
        super().__init__()
        self.position = nn.Sequential(nn.Linear(3, width), nn.GELU(), nn.Linear(width, width))
        self.pose = nn.Linear(4 * num_joints, width)
        self.local = nn.Parameter(0.02 * torch.randn(num_local, width)) if num_local else None

    def forward(
        self,
        poses_2d: Tensor,  # [B, 4 J]
        anchors_m: Tensor,  # [B, A, 3], the local ones first
    ) -> Tensor:  # [B, A, D]
        """Returns one token per anchor."""
        queries: Tensor = self.position(anchors_m) + self.pose(poses_2d)[:, None]
        if self.local is None:
            return queries
        num_local = len(self.local)
        return torch.cat((queries[:, :num_local] + self.local, queries[:, num_local:]), dim=1)
