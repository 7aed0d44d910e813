"""PandaPose, single frame: joints as weighted means of 3D anchors that look at depth and maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from lifter.anchor_decoder import AnchorLayer, Scene
from lifter.anchors import AnchorQueries, Anchors, AnchorSet, anchors_to_joints
from lifter.blocks import NORM_EPS, drop_path_rates
from lifter.depth_context import DepthContext
from lifter.depth_distribution import depth_bins, ordinal_loss
from lifter.errors import LifterConfigError, SamplingError
from lifter.models.base import Lifter, Outputs
from lifter.ops import prepare_levels

DepthMaps = Literal["joint", "single", "none"]
MAP_AXES = 4


class PandaPose(Lifter):
    """PandaPose (Zheng et al., NeurIPS 2025, arXiv 2602.01095), from public descriptions of it.

    The descriptions say: K local anchors per joint at (j_x, j_y, 0) plus a linear map of the 2D
    pose, and 256 global ones on a uniform grid in the plane of the root; a light net on the maps of
    stride 8 that finds a distribution of depth over 64 bins for every joint and cell, taught at the
    joints by an ordinal loss; layers of attention to depth, among anchors, and to features lifted
    to space, Dist (x) F_I, at points around the anchor; P_j = sum_a softmax(W_aj) (P_a + O_aj);
    loss 2 MPJPE + 0.1 L_depth. No code was found, and no other sizes; what follows is ours.

    Anchors. K is 4. They are metres in camera axes relative to the root, and the grid spans +-1 m.
    The 2D joints of (j_x, j_y, 0) are those in the unit frame of the crop, less their mean (which
    joint is the root a lifter is not told), times metres per unit: learned, one number per axis,
    starting at 1 m per half height of the crop. The inverse of the same map says where on the maps
    an anchor lies. The linear map reads the pose in both frames, crop and screen, and starts like
    any linear layer. Anchors stay where they are from layer to layer.

    Queries start as an embedding of the anchor's position (two layers) and of the 2D pose
    (linear), and of local anchors a learned vector.

    Depth. The range is +-1 m around the root; depths beyond count as the outermost bin. The map is
    that of the second level in the order of `levels`, finest first, of the only level if there is
    one, or of `depth_level`. The net is 1 x 1, GELU, 3 x 3, GELU, 1 x 1. P1 of the loss is the
    cumulative softmax. A joint is taught at its nearest cell, and only the `depth_window` x
    `depth_window` cells around it have its distribution, or all if that is None: it is one idea of
    what sampling around the 2D pose to save memory may mean. Local anchors read the distribution of
    their joint; global ones read another, at all cells, that all joints teach. L_depth is the mean
    of both. The tokens of attention to depth are the cumulative distributions of the joints at
    their cells through a linear map, plus a learned vector per joint.

    Features. All levels are sampled, at the same points. A sample is that of the maps times that of
    the distribution, not their product's: one number per sample, by which `deform_sample` weighs,
    so that the product is never stored. Distributions count relative to a uniform one. Heads and
    points are `deform_heads` and `num_points`; offsets pass through tanh.

    Loss. MPJPE is in metres, and L_depth a sum over bins, a mean over joints.

    Sizes are those of `capf`, with pre-norm layers, GELU, and drop path. `depth_maps=single` has
    one distribution for all joints, taught by all. `depth_maps=none` has no depth net, and neither
    attention to depth nor offsets in depth. `anchors` leaves one kind out.
    """

    name: ClassVar[str] = "pandapose"
    uses_features: ClassVar[bool] = True
    last_layer: ClassVar[str] = "votes"

    def __init__(
        self,
        *,
        level_channels: Sequence[int],
        num_joints: int = 17,
        width: int = 128,
        depth: int = 4,
        num_heads: int = 8,
        deform_heads: int = 4,
        num_points: int = 4,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
        anchors: AnchorSet = "both",
        num_local_anchors: int = 4,
        global_grid: int = 16,
        depth_maps: DepthMaps = "joint",
        num_bins: int = 64,
        depth_range_m: float = 1.0,
        depth_level: int | None = None,
        depth_window: int | None = 7,
        pose_weight: float = 2.0,
        depth_weight: float = 0.1,
    ) -> None:
        super().__init__()
        if not level_channels:
            raise LifterConfigError(
                "pandapose reads feature maps, but level_channels is empty. "
                "Name the channels of at least one level, or build 'pose_only'."
            )
        if depth_maps not in get_args(DepthMaps):
            raise LifterConfigError(
                f"depth_maps must be one of {get_args(DepthMaps)}, got {depth_maps!r}."
            )
        if num_bins < 2 or depth_range_m <= 0:
            raise LifterConfigError(
                f"num_bins={num_bins} must be at least 2, and depth_range_m={depth_range_m} must be"
                " positive."
            )
        if depth_window is not None and depth_window < 1:
            raise LifterConfigError(
                f"depth_window={depth_window} must be at least 1 cell, or null for the whole map."
            )
        num_levels = len(level_channels)
        if depth_level is None:
            depth_level = min(1, num_levels - 1)
        if not 0 <= depth_level < num_levels:
            raise LifterConfigError(
                f"depth_level={depth_level} must be one of the {num_levels} levels, from 0 on."
            )
        self.level_channels = tuple(level_channels)
        self.depth_level, self.depth_range_m = depth_level, depth_range_m
        self.pose_weight, self.depth_weight = pose_weight, depth_weight
        self.anchors = Anchors(
            num_joints=num_joints,
            num_local=num_local_anchors,
            grid_side=global_grid,
            extent_m=depth_range_m,
            which=anchors,
        )
        self.queries = AnchorQueries(
            width, num_joints=num_joints, num_local=num_joints * self.anchors.num_local
        )
        self.depths: DepthContext | None = None
        if depth_maps != "none":
            self.depths = DepthContext(
                level_channels[depth_level],
                width,
                num_joints=num_joints,
                num_bins=num_bins,
                range_m=depth_range_m,
                window=depth_window,
                joint_wise=depth_maps == "joint",
                with_global=anchors != "local",
            )
        self.layers = nn.ModuleList(
            AnchorLayer(
                width,
                level_channels=level_channels,
                num_heads=num_heads,
                deform_heads=deform_heads,
                num_points=num_points,
                mlp_ratio=mlp_ratio,
                drop_path=rate,
                with_depth=self.depths is not None,
            )
            for rate in drop_path_rates(drop_path, depth)
        )
        self.norm = nn.LayerNorm(width, eps=NORM_EPS)
        self.votes = nn.Linear(width, 4 * num_joints)  # per joint a score and an offset in metres

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # [B, J, 2] unit frame
        levels: Sequence[Tensor] | None = None,  # L maps [B, H, W, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # noqa: ARG002 (lifts single frames)
    ) -> Outputs:  # [B, J, 3]; in training with depth maps, also one or two [B, J, N]
        """Returns the joints in metres, camera frame, relative to the root joint.

        In training with depth maps, the logits of the depth bins at the joints come along.
        """
        levels = self._checked(levels)
        if reference_points is None:
            raise LifterConfigError("pandapose needs reference_points [B, J, 2], got None.")
        level = levels[self.depth_level]
        # [B, J, 4] -> [B, 4 J]
        poses_2d = torch.cat((keypoints_2d, reference_points), dim=-1).flatten(1)
        # No autocast: bfloat16 would move the points by millimetres.
        with torch.autocast(level.device.type, enabled=False):
            aspect = level.shape[2] / level.shape[1]
            anchors_m, points = self.anchors(poses_2d, reference_points, aspect)
        depths = None
        if self.depths is not None:
            scale = None if scales is None else scales[self.depth_level]
            depths = self.depths(level, reference_points, scale, self.anchors.joint_of_local())
        levels = prepare_levels(levels, reference_points)
        scene = Scene(anchors_m, points, levels, scales, depths)
        queries = self.queries(poses_2d, anchors_m)
        for layer in self.layers:
            queries = layer(queries, scene)
        with torch.autocast(level.device.type, enabled=False):
            votes = self.votes(self.norm(queries.to(anchors_m.dtype)))
            # [B, A, 4 J] -> [B, A, J, 4]
            scores, offsets_m = votes.unflatten(-1, (-1, 4)).split((1, 3), dim=-1)
            joints_m = anchors_to_joints(anchors_m, scores.squeeze(-1), offsets_m)
        if self.training and depths is not None:
            return joints_m, *depths.joint_logits
        return joints_m

    def _checked(self, levels: Sequence[Tensor] | None) -> Sequence[Tensor]:
        shapes = None if levels is None else [tuple(level.shape) for level in levels]
        channels = None if shapes is None else tuple(s[-1] for s in shapes if len(s) == MAP_AXES)
        if levels is None or channels != self.level_channels:
            raise SamplingError(
                f"levels must be {len(self.level_channels)} maps [B, H, W, C] with the channels "
                f"{self.level_channels}, got {shapes}. Build the lifter with these "
                "level_channels, or read the levels it was built for, in its order."
            )
        return levels

    def loss(
        self,
        outputs: Outputs,
        target_m: Tensor,  # [B, J, 3]
        valid: Tensor | None = None,  # [B, J] bool; None: all
    ) -> Tensor:
        """Returns 2 MPJPE + 0.1 L_depth (or other weights, of the options), the MPJPE in metres."""
        pose_loss = self.pose_weight * super().loss(outputs, target_m, valid)
        if isinstance(outputs, Tensor):
            return pose_loss
        num_bins = outputs[1].shape[-1]
        bins = depth_bins(target_m[..., 2], num_bins=num_bins, range_m=self.depth_range_m)
        depth_losses = [ordinal_loss(logits.float(), bins, valid) for logits in outputs[1:]]
        return pose_loss + self.depth_weight * torch.stack(depth_losses).mean()
