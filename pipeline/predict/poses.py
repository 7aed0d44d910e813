"""Predicted poses with everything that says what they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import FrameStatus, Skeleton


@dataclass(frozen=True)
class Poses:
    """`n` person-frames, by file, person and frame; NaN where a frame could not be used."""

    skeleton: Skeleton
    detector_skeleton: Skeleton
    files: tuple[str, ...]  # of each
    frames: NDArray[np.int64]  # [n] of a video, or of a folder in natural order of names
    people: tuple[str, ...]  # of each: the person within the video or folder
    clips: NDArray[np.int64]  # [n] one code per person of a video or folder
    time_s: NDArray[np.float64]  # [n] since the first frame
    image_size: NDArray[np.int64]  # [n, 2] (H, W)
    boxes_px: NDArray[np.float64]  # [n, 4] x1, y1, x2, y2
    status: NDArray[np.uint8]  # [n] FrameStatus
    joints_3d_mm: NDArray[np.float64]  # [n, J, 3] camera frame, relative to the root
    keypoints_px: NDArray[np.float64]  # [n, J, 3] 2D joints that were lifted, and score
    detected_px: NDArray[np.float64]  # [n, Jd, 3] joints of the detector, and score
    root_mm: NDArray[np.float64] | None  # [n, 3] camera frame; None without intrinsics
    spread_mm: NDArray[np.float64] | None  # [n, J] expected error; None unless the lifter has it
    about: Mapping[str, Any]  # run, detector, units, notes: plain containers

    def __len__(self) -> int:
        return len(self.files)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """[n] whether the frame has a pose."""
        return np.asarray(self.status == FrameStatus.OK)

    @property
    def notes(self) -> tuple[str, ...]:
        """What must be said of these poses."""
        return tuple(self.about["notes"])
