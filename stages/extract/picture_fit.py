"""Whether pictures have the size that labels and cameras speak of."""

from __future__ import annotations

import numpy as np

from cache.plan import RowPlan

_MIDDLE = (0.3, 0.7)
"""Where a camera's optical centre lies, as a share of its picture's sides."""


def picture_warning(plan: RowPlan) -> str | None:
    """Return what to know where pictures were made smaller or cut since their calibration.

    Labels are then px of other pictures, and crops show something else. Pictures that are missing
    tell nothing.
    """
    sizes = plan.image_size[:, ::-1].astype(np.float64)  # W, H
    codes = plan.index["camera"].codes
    for code, camera in enumerate(plan.cameras):
        rows = np.flatnonzero((codes == code) & (sizes > 0).all(axis=1))
        if not len(rows):
            continue
        width, height = np.median(sizes[rows], axis=0)
        centre = camera.K[:2, 2]
        share = centre / (width, height)
        if (share < _MIDDLE[0]).any() or (share > _MIDDLE[1]).any():
            return (
                f"pictures of camera {camera.name} are {width:.0f} x {height:.0f} px (W x H), but "
                f"its calibration has their centre at ({centre[0]:.0f}, {centre[1]:.0f}) px. "
                "Labels are px of the pictures as published: were these made smaller, or cut?"
            )
    return None
