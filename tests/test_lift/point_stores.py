"""What a point cache should hold, worked out without the project's sampling."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from cache import CacheReader
from tests.test_lift.stores import CROP_SIZE

# H36M-17: left hip, knee, ankle, shoulder, elbow, wrist and their right partners
EXCHANGED = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]


def expected_points(
    reader: CacheReader,
    level: str,
    row: int,
    view: int,
    *,
    source: str = "detector",
    geometric: bool = False,
) -> NDArray[np.float64]:
    """Returns [J, C] of the map: `grid_sample` in float64 at the joints."""
    picture_px = reader.keypoints(source, view, rows=[row])[0, :, :2].astype(np.float64)
    affine = reader.affine(view, rows=[row])[0]
    crop_px = picture_px @ affine[:, :2].T + affine[:, 2]
    if view == 1:
        crop_px = crop_px[EXCHANGED]
    places = crop_px / (np.array(CROP_SIZE[::-1]) / 2) - 1
    stored = reader.read([row], levels=[level], view=view)[level][0].astype(np.float64)
    scale = reader.scales(level)
    values = stored if scale is None else stored * scale.astype(np.float64)
    if geometric:
        cells = crop_px / reader.levels[level].stride
        places = cells / (np.array([stored.shape[1], stored.shape[0]]) - 1) * 2 - 1
    return grid_sample(values, places)


def grid_sample(
    values: NDArray[np.float64],  # [H, W, C]
    places: NDArray[np.float64],  # [J, 2]
) -> NDArray[np.float64]:  # [J, C]
    maps = torch.from_numpy(values).permute(2, 0, 1)[None]
    grid = torch.from_numpy(places)[None, None]
    sampled = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=True)
    found: NDArray[Any] = sampled[0, :, 0].T.numpy()
    return found
