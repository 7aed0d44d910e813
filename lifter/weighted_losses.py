"""The loss of MixSTE; poses are metres relative to the root joint."""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_sequence_loss(
    predicted: Tensor,  # [B, F, J, 3]
    target: Tensor,  # [B, F, J, 3]
    valid: Tensor | None = None,  # [B, F, J] bool; None: all joints count
    *,
    joint_weights: Tensor,  # [J]
    velocity_weight: float,
    consistency_weight: float,
) -> Tensor:  # scalar
    """Returns the weighted MPJPE plus errors of velocity and of temporal consistency.

    With weights w_j and the mean over valid joints j of frames t (Zhang et al., CVPR 2022, section
    3.4; the consistency term is the mean over x, y and z, as in the published code):

        mean w_j |p - q|  +  velocity_weight * mean |dp - dq|  +  consistency_weight * mean w_j dp^2

    p is predicted, q true, and d is the step from the frame before, which counts where the joint is
    valid in both. Ours: all sums are divided by the number of valid joints, those of steps times
    F / (F - 1), which are the means where all are valid, so that the parts of a batch in several
    processes add up to that of one. Without a valid joint the loss is 0.
    """
    if valid is None:
        valid = torch.ones(predicted.shape[:-1], dtype=torch.bool, device=predicted.device)
    num_frames = predicted.shape[1]
    distances = torch.linalg.vector_norm(predicted - target, dim=-1)  # [B, F, J]
    total = (joint_weights * distances * valid).sum()
    if num_frames > 1:
        steps = predicted.diff(dim=1)  # [B, F - 1, J, 3]
        velocity = torch.linalg.vector_norm(steps - target.diff(dim=1), dim=-1)
        consistency = joint_weights * steps.square().mean(dim=-1)
        terms = velocity_weight * velocity + consistency_weight * consistency
        both = valid[:, 1:] & valid[:, :-1]
        total = total + num_frames / (num_frames - 1) * (terms * both).sum()
    loss: Tensor = total / valid.sum().clamp(min=1)
    return loss
