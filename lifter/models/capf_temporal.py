"""Context-Aware PoseFormer over time: what each frame shows at the joints, through a window."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from lifter.blocks import AttentionBlock, drop_path_rates
from lifter.config import LifterConfig, ReferenceRule
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.pyramid import PyramidEmbedding, are_points, geometric_shifts
from lifter.window_rows import rows_of_windows

PUBLISHED_TOKEN_WIDTH = 32


class CapfTemporal(Lifter):
    """CA-PF-S, the temporal Context-Aware PoseFormer (Zhao et al., NeurIPS 2023, appendix C).

    As published: features are read at the detected joints only, there is no deformable sampling,
    and tokens are narrow. In every frame a joint has 1 + L tokens, for its 2D position and for each
    level; fusion blocks mix the tokens of a joint, and joint blocks the joints, each as one token
    of width (1 + L) * D. Temporal blocks then mix the frames of each joint, a convolution of
    kernel 1 gathers them into one, and a norm and a linear map make it the target frame's position.
    D is 32, all blocks have 8 heads, and the frames have no position embedding.

    Ours, where the paper does not say: how 64 to 256 channels became 32 (a linear map per level,
    learned with all the rest); the number of temporal blocks (`depth`, as of the others) and that
    their drop path rises with depth as the others' does; one frame passes through the same network;
    `temporal_embedding`, which adds a learned position of the frames before the temporal blocks.
    A frame that several windows share is embedded, fused and mixed over its joints once; the drop
    path of these blocks is then drawn once for all of them.
    """

    name: ClassVar[str] = "capf_temporal"
    uses_features: ClassVar[bool] = True
    reads_windows: ClassVar[bool] = True

    @classmethod
    def reads_points(cls, config: LifterConfig) -> bool:  # noqa: ARG003
        """Returns True: nothing is sampled around the joints."""
        return True

    def __init__(
        self,
        *,
        level_channels: Sequence[int],
        num_joints: int = 17,
        num_frames: int = 1,
        token_width: int | None = None,
        depth: int = 4,
        num_heads: int = 8,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.2,
        reference_rule: ReferenceRule = "published",
        temporal_embedding: bool = False,
    ) -> None:
        super().__init__()
        if not level_channels:
            raise LifterConfigError(
                "capf_temporal reads feature maps, but level_channels is empty. Name the channels "
                "of at least one level, or build a lifter of windows that reads keypoints only."
            )
        width = token_width or PUBLISHED_TOKEN_WIDTH
        num_tokens = 1 + len(level_channels)
        joint_width = num_tokens * width
        self.num_frames, self.reference_rule = num_frames, reference_rule
        self.pose_embedding = nn.Linear(2, width)
        self.pyramid = PyramidEmbedding(width, level_channels=level_channels)
        self.position_embedding = nn.Parameter(torch.zeros(1, num_tokens, num_joints, width))

        def blocks(block_width: int) -> nn.ModuleList:
            return nn.ModuleList(
                AttentionBlock(
                    block_width, num_heads=num_heads, mlp_ratio=mlp_ratio, drop_path=rate
                )
                for rate in drop_path_rates(drop_path, depth)
            )

        self.fusion_blocks, self.joint_blocks = blocks(width), blocks(joint_width)
        self.temporal_embedding = (
            nn.Parameter(torch.zeros(1, num_frames, joint_width)) if temporal_embedding else None
        )
        self.temporal_blocks = blocks(joint_width)
        self.gather_frames = nn.Conv1d(num_frames, 1, kernel_size=1)
        self.norm = nn.LayerNorm(joint_width)
        self.position = nn.Linear(joint_width, 3)

    def forward(
        self,
        keypoints_2d: Tensor,  # [B, F, J, 2] screen-normalised
        reference_points: Tensor | None = None,  # [R, J, 2] unit frame
        levels: Sequence[Tensor] | None = None,  # L maps [R, H, W, C], or L points [R, J, C]
        *,
        scales: Sequence[Tensor] | None = None,  # per level [C], of 8-bit maps
        window_rows: Tensor | None = None,  # [B, F] int64 in 0..R-1
    ) -> Tensor:  # [B, J, 3]
        """Returns the target frame's joints in metres, camera frame, relative to the root joint."""
        levels = self.pyramid.check(levels)
        if reference_points is None or window_rows is None:
            raise LifterConfigError(
                "capf_temporal needs reference_points [R, J, 2] and window_rows [B, F], which says "
                "whose of the R rows each frame of a window is."
            )
        batch, frames, joints, _ = keypoints_2d.shape
        if frames != self.num_frames:
            raise LifterConfigError(
                f"capf_temporal was built for windows of {self.num_frames} frames, got {frames}."
            )
        # Where windows share a row, all have its keypoints.
        pose = keypoints_2d.new_zeros(reference_points.shape).index_copy(
            0, window_rows.flatten(), keypoints_2d.flatten(0, 1)
        )  # [R, J, 2]
        seen = self._frames(pose, reference_points, levels, scales)  # [R, J, D]
        # [B, F, J, D] -> [B * J, F, D]
        windows = rows_of_windows(seen, window_rows).transpose(1, 2).flatten(0, 1)
        if self.temporal_embedding is not None:
            windows = windows + self.temporal_embedding
        for block in self.temporal_blocks:
            windows = block(windows)
        gathered = self.gather_frames(windows).view(batch, joints, -1)  # from [B * J, 1, D]
        output: Tensor = self.position(self.norm(gathered))
        return output

    def _frames(
        self,
        pose_2d: Tensor,  # [R, J, 2]
        reference_points: Tensor,  # [R, J, 2]
        levels: Sequence[Tensor],
        scales: Sequence[Tensor] | None,
    ) -> Tensor:  # [R, J, (1 + L) * D]
        """Returns one token per joint of every frame, which has seen the others of its frame."""
        shifts = None
        if self.reference_rule == "geometric" and not are_points(levels):
            shifts = geometric_shifts(reference_points, levels)
        pose = self.pose_embedding(pose_2d)[:, None]  # [R, 1, J, D]
        context = self.pyramid(
            reference_points, levels, scales=scales, shifts=shifts
        )  # [R, L, J, D]
        tokens = torch.cat((pose, context), dim=1) + self.position_embedding
        rows, _, joints, _ = tokens.shape
        tokens = tokens.transpose(1, 2).flatten(0, 1)  # [R * J, 1 + L, D]
        for block in self.fusion_blocks:
            tokens = block(tokens)
        seen = tokens.reshape(rows, joints, -1)  # [R, J, (1 + L) * D]
        for block in self.joint_blocks:
            seen = block(seen)
        return seen
