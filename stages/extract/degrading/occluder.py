"""Something in front of a person: a textured rectangle or ellipse inside the person's box.

Points are (x, y); pixel centres are whole numbers.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

LARGEST_SHARE = 0.75
"""Of a box: an ellipse within it covers pi/4 at most."""
_PATCHES = 6
_SLIMMEST = 0.3
"""Exponent of the share along one side; 0.5 has the proportions of the box, 0 its whole length."""


def occlude(
    picture: NDArray[np.uint8],  # [H, W, 3]
    box: NDArray[np.float64],  # [4] x1, y1, x2, y2
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.uint8]:  # [H, W, 3]
    """Returns a copy of the picture in which `share` of the box's area is covered.

    The shape lies inside the box; its kind, place, proportions and colours are drawn from `rng`,
    always the same number of draws. What of the box lies outside the picture is not drawn.

    Raises ValueError for a share outside 0..LARGEST_SHARE.
    """
    if not 0.0 <= share <= LARGEST_SHARE:
        raise ValueError(f"an occluder covers 0 to {LARGEST_SHARE} of a box, not {share}")
    is_ellipse = bool(rng.random() < 0.5)
    slimness = rng.uniform(_SLIMMEST, 1.0 - _SLIMMEST)
    place = rng.random(2)
    patches = rng.integers(0, 256, size=(_PATCHES, _PATCHES, 3), dtype=np.uint8)
    covered = picture.copy()
    if share == 0.0:
        return covered
    around = share * 4.0 / math.pi if is_ellipse else share  # of its bounding rectangle
    sides = (box[2:] - box[:2]) * [around**slimness, around ** (1.0 - slimness)]
    low = box[:2] + place * (box[2:] - box[:2] - sides)
    # The pixels whose centres lie inside, as far as the picture reaches.
    height, width = picture.shape[:2]
    first = np.maximum(np.ceil(low), 0).astype(int)
    last = np.minimum(np.ceil(low + sides), (width, height)).astype(int)
    if (first >= last).any():
        return covered
    x, y = np.arange(first[0], last[0]), np.arange(first[1], last[1])
    texture = cv2.resize(patches, (len(x), len(y)), interpolation=cv2.INTER_LINEAR)
    inside = np.ones((len(y), len(x)), dtype=bool)
    if is_ellipse:
        middle, half = low + sides / 2.0, sides / 2.0
        across, down = (x - middle[0]) / half[0], (y - middle[1]) / half[1]
        inside = np.asarray(across**2 + down[:, None] ** 2 <= 1.0)
    part = covered[first[1] : last[1], first[0] : last[0]]
    part[inside] = texture[inside]
    return covered
