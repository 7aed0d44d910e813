"""Poses of a person smoothed over time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_REACH = 4.0
"""Standard deviations beyond which a frame weighs nothing."""


def smooth_poses(
    poses_mm: NDArray[np.float64],  # [n, ..., 3], NaN where there is none
    clips: NDArray[np.int64],  # [n] frames of a clip are neighbours
    time_s: NDArray[np.float64],  # [n] ascending in a clip
    sigma_s: float,
) -> NDArray[np.float64]:
    """Returns the poses convolved with a Gaussian in time, within each clip.

    Every frame is the mean of the frames of its clip, weighted by how near they are in time, so
    that gaps and ends need no rule of their own: what is not there weighs nothing. Frames without a
    pose keep none. `sigma_s` 0 changes nothing.
    """
    smooth = poses_mm.copy()
    if sigma_s == 0.0:
        return smooth
    there = np.isfinite(poses_mm).all(axis=tuple(range(1, poses_mm.ndim)))
    for clip in np.unique(clips):
        rows = np.flatnonzero((clips == clip) & there)
        flat = poses_mm[rows].reshape(len(rows), -1)
        times = time_s[rows]
        first = np.searchsorted(times, times - _REACH * sigma_s, side="left")
        end = np.searchsorted(times, times + _REACH * sigma_s, side="right")
        for place, row in enumerate(rows):
            near = slice(first[place], end[place])
            weights = np.exp(-0.5 * ((times[near] - times[place]) / sigma_s) ** 2)
            mean = weights @ flat[near] / weights.sum()
            smooth[row] = mean.reshape(poses_mm.shape[1:])
    return smooth
