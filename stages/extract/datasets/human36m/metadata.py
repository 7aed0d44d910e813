"""Human3.6M's `metadata.xml`: base names of the sequences and the calibration.

The table `mapping` has a row (action, subaction, base name of S1 .. S11) for each sequence after
its head. `w0` has 300 numbers: for camera c (0..3) and subject s (1..11) six extrinsics from
6 (11 c + s - 1): three angles (rad) and the camera's centre (world, mm); then nine intrinsics from
264 + 9 c: focal lengths (2), principal point (2), radial (3), tangential (2) distortion.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.names import ACTIONS, SUBJECTS, BaseNames, Take

NUM_CAMERA_NUMBERS = 300


@dataclass(frozen=True, eq=False)
class Metadata:
    """What is read from `metadata.xml`.

    Args:
        base_names: of every sequence of the subjects with public labels.
        camera_numbers: `[300]` float64, the field `w0`.
    """

    base_names: BaseNames
    camera_numbers: NDArray[np.float64]


def read_metadata(path: Path) -> Metadata:
    """Return the metadata; raises DatasetError if the file is not Human3.6M's `metadata.xml`."""
    try:
        return _parse(path)
    except (ET.ParseError, OSError, ValueError, IndexError) as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{path} cannot be read: {error}.") from error


def _parse(path: Path) -> Metadata:
    root = ET.parse(path).getroot()
    table = [[(cell.text or "").strip() for cell in row] for row in root.findall("mapping/tr")]
    if not table or "S1" not in table[0]:
        raise DatasetError(f"{path} has no table `mapping` of Human3.6M's sequences.")
    columns = {subject: table[0].index(subject) for subject in SUBJECTS if subject in table[0]}
    names = {
        Take(subject, int(row[0]), int(row[1])): row[column]
        for row in table[1:]
        if row[0].isdigit() and int(row[0]) in ACTIONS
        for subject, column in columns.items()
    }
    numbers = np.array((root.findtext("w0") or "").strip().strip("[]").split(), dtype=np.float64)
    if numbers.shape != (NUM_CAMERA_NUMBERS,):
        raise DatasetError(
            f"{path}: the field `w0` must hold {NUM_CAMERA_NUMBERS} numbers of the calibration, "
            f"it holds {numbers.size}."
        )
    return Metadata(names, numbers)
