"""Where poses are in front of a camera that is known, and poses that fit what it shows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache import Skeleton
from pipeline.predict.config import PredictConfig
from stages.lift.config import RefinementConfig
from stages.lift.intrinsics import Intrinsics
from stages.lift.refinement import refine
from stages.lift.roots import estimate_root_mm


@dataclass(frozen=True)
class Placed:
    """`n` poses and their places."""

    joints_3d_mm: NDArray[np.float64]  # [n, J, 3] relative to the root
    root_mm: NDArray[np.float64]  # [n, 3] camera frame; NaN where none was found


def place_poses(
    joints_3d_mm: NDArray[np.float64],  # [n, J, 3] relative to the root
    keypoints_px: NDArray[np.float64],  # [n, J, 3] score
    skeleton: Skeleton,
    config: PredictConfig,
    *,
    scale_mm: NDArray[np.float64] | None = None,  # [n, J] of the lifter's Laplace errors
    refinement: RefinementConfig | None = None,  # None: its defaults
) -> Placed | None:
    """Returns the poses, refined if that is asked for, and their places; None without intrinsics.

    Nothing true is known of these people: bones keep the lengths that were predicted.
    """
    if config.intrinsics is None:
        return None
    camera = camera_of(config, len(joints_3d_mm))
    if config.refine:
        found = refine(
            joints_3d_mm,
            keypoints_px,
            camera,
            parents=skeleton.parents,
            scale_mm=scale_mm,
            config=refinement,
        )
        return Placed(found.joints_mm, found.root_mm)
    roots = estimate_root_mm(
        joints_3d_mm, keypoints_px[..., :2], camera, weights=keypoints_px[..., 2]
    )
    return Placed(joints_3d_mm, roots.root_mm)


def camera_of(config: PredictConfig, num_frames: int) -> Intrinsics:
    """Returns the camera of the configuration for every frame; distortion is OpenCV's."""
    assert config.intrinsics is not None
    fx, fy, cx, cy = config.intrinsics
    K = np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]])
    return Intrinsics(
        np.tile(K, (num_frames, 1, 1)),
        np.tile(np.array(config.distortion), (num_frames, 1)),
        np.full(num_frames, 2.0),
    )
