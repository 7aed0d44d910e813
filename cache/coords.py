"""Coordinate frames and the only conversions between them.

Points are (x, y), sizes are (H, W), pixel centres lie at whole numbers. Frames:

* image px: pixels of the unmirrored picture.
* crop px: pixels of the detector's input, `affine @ (x, y, 1)` of an image point.
* unit: crop coordinates scaled to about [-1, 1], the frame of `reference_points`.
* screen: image px scaled so that x spans [-1, 1] and y keeps the aspect ratio (VideoPose3D).

Leading axes of sizes and affines are matched with those of the points from the left:
`[N, 2, 3]` affines go with `[N, J, 2]` points.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Float64 = NDArray[np.float64]
UnitRule = Literal["published", "geometric"]


def _expand_like(values: Float64, num_axes: int) -> Float64:
    """Append axes of length one until there are `num_axes` of them."""
    return values.reshape(values.shape + (1,) * (num_axes - values.ndim))


def normalize_screen(points_px: ArrayLike, image_size_hw: ArrayLike) -> Float64:
    """Screen-normalised points `[..., 2]`: x/w*2-1, y/w*2-h/w.

    Args:
        points_px: `[..., 2]` image px.
        image_size_hw: `[2]`, or `[N, 2]` for points `[N, ..., 2]`.
    """
    points = np.asarray(points_px, dtype=np.float64)
    size = np.asarray(image_size_hw, dtype=np.float64)
    height = _expand_like(size[..., 0], points.ndim - 1)
    width = _expand_like(size[..., 1], points.ndim - 1)
    return np.stack(
        [points[..., 0] / width * 2 - 1, points[..., 1] / width * 2 - height / width], axis=-1
    )


def apply_affine(affine: ArrayLike, points: ArrayLike) -> Float64:
    """Points `[..., 2]` moved by `[..., 2, 3]` affines whose leading axes match from the left."""
    matrix = np.asarray(affine, dtype=np.float64)
    moved = np.asarray(points, dtype=np.float64)
    extra = moved.ndim + 1 - matrix.ndim
    matrix = matrix.reshape(matrix.shape[:-2] + (1,) * extra + (2, 3))
    return (matrix[..., :2] @ moved[..., None])[..., 0] + matrix[..., 2]


def invert_affine(affine: ArrayLike) -> Float64:
    """Inverse `[..., 2, 3]` of affines; raises `numpy.linalg.LinAlgError` for a singular one."""
    matrix = np.asarray(affine, dtype=np.float64)
    linear = np.linalg.inv(matrix[..., :2])
    return np.concatenate([linear, -(linear @ matrix[..., 2:])], axis=-1)


def mirror_affine(affine: ArrayLike, crop_width: int) -> Float64:
    """Affines `[..., 2, 3]` into the mirrored crop: crop x becomes `crop_width - 1 - x`."""
    mirrored = np.array(affine, dtype=np.float64)
    mirrored[..., 0, :] *= -1
    mirrored[..., 0, 2] += crop_width - 1
    return mirrored


def crop_px_to_unit(
    points_crop_px: ArrayLike,
    crop_size_hw: tuple[int, int],
    rule: UnitRule = "published",
    *,
    stride: int = 1,
) -> Float64:
    """Unit-frame points `[..., 2]` of crop px.

    Args:
        points_crop_px: `[..., 2]` crop px.
        crop_size_hw: size of the crop.
        rule: `published` is x/(W/2)-1, the same for every level (`stride` is not used).
            `geometric` puts crop px `stride * i` on cell `i` of a map of that stride sampled
            with `align_corners=True`.
        stride: stride of the sampled map; 1 is the crop itself.
    """
    points = np.asarray(points_crop_px, dtype=np.float64)
    size_xy = np.array([crop_size_hw[1], crop_size_hw[0]], dtype=np.float64)
    if rule == "published":
        return points / (size_xy / 2) - 1
    last_cell = size_xy / stride - 1
    if np.any(last_cell <= 0):
        raise ValueError(
            f"a map of stride {stride} over a {crop_size_hw} crop has a side of at most one cell: "
            "its unit frame is undefined"
        )
    return points / stride / last_cell * 2 - 1
