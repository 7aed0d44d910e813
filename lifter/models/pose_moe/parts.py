"""What `pose_moe` and its control have in common: windows, options and the loss."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from lifter.errors import LifterConfigError
from lifter.losses import mpjpe
from lifter.models.base import Lifter, Outputs
from lifter.sequence_losses import n_mpjpe, velocity_error


class PartsLifter(Lifter):
    """A lifter of windows that in training also returns x, y and z as it first saw them.

    The loss is MPJPE + `n_mpjpe_weight` N-MPJPE + `velocity_weight` MPJVE + `parts_weight` (mean
    error in the plane of x and y, plus mean absolute error of z, of the first estimates). Joints
    without a label count in none of them.
    """

    reads_windows: ClassVar[bool] = True
    predicts_windows: ClassVar[bool] = True

    def __init__(
        self,
        *,
        num_frames: int,
        causal: bool,
        n_mpjpe_weight: float,
        velocity_weight: float,
        parts_weight: float,
    ) -> None:
        super().__init__()
        if causal:
            raise LifterConfigError(
                f"{self.name} predicts whole windows, in which frames see later ones: it has no"
                " causal form. Leave lifter.causal out, or take a lifter that has one."
            )
        self.num_frames = num_frames
        self.n_mpjpe_weight, self.velocity_weight = n_mpjpe_weight, velocity_weight
        self.parts_weight = parts_weight

    def check_window(self, keypoints_2d: Tensor) -> None:
        """Raises LifterConfigError unless the keypoints are windows of `num_frames`."""
        if keypoints_2d.ndim != 4 or keypoints_2d.shape[1] != self.num_frames:
            raise LifterConfigError(
                f"{self.name} was built for windows of {self.num_frames} frames [B,"
                f" {self.num_frames}, J, 2], got keypoints_2d {list(keypoints_2d.shape)}. Set"
                " lifter.num_frames to the windows that are read."
            )

    def loss(
        self,
        outputs: Outputs,
        target_m: Tensor,  # [B, F, J, 3]
        valid: Tensor | None = None,  # [B, F, J] bool; None: all
    ) -> Tensor:
        """Returns what training minimises, float32; the last term is for outputs of training."""
        poses_m, *parts = (outputs,) if isinstance(outputs, Tensor) else outputs
        poses_m = poses_m.float()
        loss = mpjpe(poses_m, target_m, valid)
        loss = loss + self.n_mpjpe_weight * n_mpjpe(poses_m, target_m, valid)
        loss = loss + self.velocity_weight * velocity_error(poses_m, target_m, valid)
        # In evaluation there are no parts.
        for part_m, true_m in zip(parts, (target_m[..., :2], target_m[..., 2:]), strict=False):
            loss = loss + self.parts_weight * mpjpe(part_m.float(), true_m, valid)
        return loss
