"""Poses of Human3.6M's own cdf files; the owner of cdflib."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.names import JOINTS_OF_32


def read_pose(path: Path, num_coordinates: int) -> NDArray[np.float32]:
    """Return `[N, 17, D]` of H36M17 from the variable `Pose`, which has 32 joints a frame.

    Args:
        path: a cdf file.
        num_coordinates: D, 2 for px, 3 for mm.

    Raises:
        DatasetError: cdflib is not installed, or the file does not hold such poses.
    """
    try:
        import cdflib
    except ImportError as error:
        raise DatasetError(
            f"{path}: reading cdf files needs cdflib. "
            "Install it: pip install -c constraints.txt cdflib."
        ) from error
    try:
        pose = np.asarray(cdflib.CDF(str(path)).varget("Pose"), dtype=np.float32)
        return pose.reshape(-1, 32, num_coordinates)[:, JOINTS_OF_32]
    except Exception as error:  # damaged files make cdflib raise anything
        raise DatasetError(
            f"{path} does not hold Human3.6M's 32 joints of {num_coordinates} coordinates "
            f"({type(error).__name__}: {error})."
        ) from error
