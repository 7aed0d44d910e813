"""Pictures of fewer pixels, in their old size."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray


def reduce_resolution(
    picture: NDArray[np.uint8],  # [H, W, 3]
    factor: float,
) -> NDArray[np.uint8]:  # [H, W, 3]
    """Returns the picture scaled down by `factor`, each pixel a mean, and up again, bilinear.

    Both steps keep the picture's edges where they are, so that nothing moves. Factor 1 returns an
    equal picture; raises ValueError below 1.
    """
    if factor < 1.0:
        raise ValueError(f"a picture is scaled down by a factor of 1 or more, not {factor}")
    if factor == 1.0:
        return picture.copy()
    height, width = picture.shape[:2]
    small_size = (max(1, round(width / factor)), max(1, round(height / factor)))
    small = cv2.resize(picture, small_size, interpolation=cv2.INTER_AREA)
    large = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(large, dtype=np.uint8)
