"""Training losses of windows; poses are metres relative to the root joint."""

from __future__ import annotations

from torch import Tensor

from lifter.losses import mpjpe

LEAST_POWER = 1e-12  # m^2; below it there is no scale to speak of


def n_mpjpe(
    predicted: Tensor,  # [..., J, 3]
    target: Tensor,  # [..., J, 3]
    valid: Tensor | None = None,  # [..., J] bool; None: all joints count
) -> Tensor:  # scalar
    """Returns the MPJPE after the scale of every pose that fits best in least squares.

    Only valid joints decide the scale. It is part of what is differentiated. The N-MPJPE of Rhodin
    et al., CVPR 2018.
    """
    counted = predicted if valid is None else predicted * valid[..., None]
    power = (counted * counted).sum((-2, -1), keepdim=True)
    scale = (counted * target).sum((-2, -1), keepdim=True) / power.clamp(min=LEAST_POWER)
    return mpjpe(scale * predicted, target, valid)


def velocity_error(
    predicted: Tensor,  # [..., F, J, 3]
    target: Tensor,  # [..., F, J, 3]
    valid: Tensor | None = None,  # [..., F, J] bool; None: all joints count
) -> Tensor:  # scalar
    """Returns the mean error of the steps from frame to frame, in metres per frame (MPJVE).

    A step counts where the joint is valid in both frames. Without any the loss is 0.
    """
    if predicted.shape[-3] == 1:
        return predicted.new_zeros(())
    both = None if valid is None else valid[..., 1:, :] & valid[..., :-1, :]
    return mpjpe(predicted.diff(dim=-3), target.diff(dim=-3), both)
