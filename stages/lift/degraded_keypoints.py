"""2D joints made worse by a stated amount, as if a detector had found them so.

Maps stay what they are; a lifter samples them at the joints that it is given, so that its reference
points move with them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def add_noise(
    keypoints: NDArray[np.float32],  # [n, V, J, 3] px, score
    boxes_px: NDArray[np.float64],  # [n, 4] x1, y1, x2, y2
    share: float,
    rngs: Sequence[np.random.Generator],  # of each row
) -> NDArray[np.float32]:  # [n, V, J, 3]
    """Returns the joints with Gaussian noise on x and y; scores are kept.

    The standard deviation of each coordinate is `share` of the height of the person's box. All
    views get the same noise: in another view it is the same wrong joint, which averaging over views
    must not take away.
    """
    noisy = keypoints.copy()
    num_joints = keypoints.shape[2]
    for i, rng in enumerate(rngs):
        spread_px = share * (boxes_px[i, 3] - boxes_px[i, 1])
        noisy[i, :, :, :2] += (spread_px * rng.standard_normal((num_joints, 2))).astype(np.float32)
    return noisy


def drop_joints(
    keypoints: NDArray[np.float32],  # [n, V, J, 3] px, score
    boxes_px: NDArray[np.float64],  # [n, 4] x1, y1, x2, y2
    share: float,
    rngs: Sequence[np.random.Generator],  # of each row
) -> NDArray[np.float32]:  # [n, V, J, 3]
    """Returns the joints with round(`share` x J) of them lost, the same ones in all views.

    A lost joint lies anywhere in the person's box, uniformly, with score 0: a heatmap without its
    joint has its highest value somewhere, and the lifters know no missing input. More lost joints
    are the lost ones of a smaller share and others.
    """
    lossy = keypoints.copy()
    num_joints = keypoints.shape[2]
    num_lost = round(share * num_joints)
    for i, rng in enumerate(rngs):
        lost = rng.permutation(num_joints)[:num_lost]
        low, high = boxes_px[i, :2], boxes_px[i, 2:]
        places = low + rng.random((num_joints, 2)) * (high - low)
        lossy[i, :, lost, :2] = places[lost][:, None]
        lossy[i, :, lost, 2] = 0.0
    return lossy
