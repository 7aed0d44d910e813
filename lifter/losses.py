"""Training losses; poses are metres relative to the root joint."""

from __future__ import annotations

import torch
from torch import Tensor


def mpjpe(
    predicted: Tensor,  # [..., J, 3]
    target: Tensor,  # [..., J, 3]
    valid: Tensor | None = None,  # [..., J] bool; None: all joints count
) -> Tensor:  # scalar
    """Returns the mean distance between predicted and true joints, in the unit of the poses.

    The root joint counts like the others. Without a valid joint the loss is 0. Targets are finite,
    those of invalid joints, too.
    """
    distances: Tensor = torch.linalg.vector_norm(predicted - target, dim=-1)
    if valid is None:
        return distances.mean()
    total: Tensor = (distances * valid).sum()
    return total / valid.sum().clamp(min=1)
