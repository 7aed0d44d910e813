"""What a lifter is told about where the joints are, from keypoints, pictures and crops."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.coords import apply_affine, crop_px_to_unit, normalize_screen

PLAIN, FLIPPED = 0, 1


def view_inputs(
    keypoints_px: NDArray[np.float64],  # [n, J, 2] of the unmirrored picture
    image_size: NDArray[np.integer],  # [n, 2] (H, W)
    affine: NDArray[np.float64],  # [n, 2, 3] of the view, mirror included
    crop_size: tuple[int, int],  # (H, W)
    *,
    view: int,
    swap: NDArray[Any],  # [J]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns `keypoints_2d` [n, J, 2], screen-normalised, and `reference_points` [n, J, 2], unit.

    In the flipped view both are of the mirrored person: x is negated on the screen, and left and
    right joints are exchanged, so that a lifter sees an ordinary person.
    """
    screen = normalize_screen(keypoints_px, image_size)
    crop_px = apply_affine(affine, keypoints_px)
    # Lifters that want another rule than the published one move the points per level themselves.
    unit = crop_px_to_unit(crop_px, crop_size, rule="published")
    if view == FLIPPED:
        screen, unit = mirror(screen, swap), unit[:, swap]
    return screen.astype(np.float32), unit.astype(np.float32)


def mirror(points: NDArray[Any], swap: NDArray[Any]) -> NDArray[Any]:
    """Returns `points` [..., J, 2|3] of the mirrored world: x negated, left and right exchanged.

    It is its own inverse.
    """
    mirrored = points[..., swap, :].copy()
    mirrored[..., 0] *= -1.0
    return mirrored
