"""MPI-INF-3DHP's own files: annot.mat, annot_data.mat and camera.calibration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.mpi_inf_3dhp.facts import ACTIVITIES, MPI17_OF_28

Labels = Literal["annot3", "univ_annot3"]
_NUM_TRAIN_JOINTS = 28


@dataclass(frozen=True, eq=False)
class Joints:
    """Labels of one camera, MPI17.

    Args:
        px: `[n, 17, 2]` float32.
        mm: `[n, 17, 3]` float32, camera frame, absolute.
    """

    px: NDArray[np.float32]
    mm: NDArray[np.float32]


def read_train_labels(
    path: Path, labels: Labels, cameras: tuple[int, ...], num_frames: int
) -> dict[int, Joints]:
    """Return the first `num_frames` rows of `annot.mat` by camera number; raises DatasetError."""
    from scipy.io import loadmat

    names = ("annot2", labels, "cameras", "frames")
    try:
        content = loadmat(path, variable_names=list(names))
    except Exception as error:  # damaged files make scipy raise anything
        raise DatasetError(f"{path} is not a MATLAB file that scipy reads: {error}.") from error
    missing = [name for name in names if name not in content]
    if missing:
        raise DatasetError(f"{path} lacks the variables {missing} of MPI-INF-3DHP.")
    frames = np.ravel(content["frames"])
    if not np.array_equal(frames, np.arange(len(frames))):
        raise DatasetError(
            f"{path} numbers its frames otherwise than 0, 1, 2...; the official files do not, and "
            "these labels cannot be told from their pictures'."
        )
    cells = {int(number): i for i, number in enumerate(np.ravel(content["cameras"]))}
    unknown = [camera for camera in cameras if camera not in cells]
    if unknown:
        raise DatasetError(f"{path} has no cameras {unknown}, only {sorted(cells)}.")
    return {
        camera: Joints(
            _train_joints(path, content["annot2"], cells[camera], 2, num_frames),
            _train_joints(path, content[labels], cells[camera], 3, num_frames),
        )
        for camera in cameras
    }


def _train_joints(
    path: Path, cells: NDArray[Any], cell: int, dimensions: int, num_frames: int
) -> NDArray[np.float32]:
    rows = np.asarray(cells.reshape(-1)[cell])
    if rows.ndim != 2 or rows.shape[1] != _NUM_TRAIN_JOINTS * dimensions:
        raise DatasetError(
            f"{path}: a cell has shape {rows.shape}, expected (frames, "
            f"{_NUM_TRAIN_JOINTS * dimensions})."
        )
    joints = rows[:num_frames].reshape(-1, _NUM_TRAIN_JOINTS, dimensions)
    return joints[:, list(MPI17_OF_28)].astype(np.float32)


@dataclass(frozen=True, eq=False)
class SequenceLabels:
    """Labels of one test sequence, its unlabelled frames too.

    Args:
        joints: of every frame.
        valid: `[n]` frames that count.
        activities: `[n]` names.
    """

    joints: Joints
    valid: NDArray[np.bool_]
    activities: tuple[str, ...]


def read_test_labels(path: Path, labels: Labels) -> SequenceLabels:
    """Return the labels of `annot_data.mat`; raises DatasetError.

    It is an HDF5 file, in which MATLAB's axes appear in reverse: frame, person, joint, coordinate.
    """
    try:
        import h5py
    except ImportError as error:
        raise DatasetError(
            f"{path}: reading it needs h5py. Install it: pip install -c constraints.txt h5py."
        ) from error
    try:
        with h5py.File(path, "r") as file:
            px, mm = (_test_joints(path, file[name], name) for name in ("annot2", labels))
            valid = np.ravel(file["valid_frame"][()]) > 0
            numbers = np.ravel(file["activity_annotation"][()]).astype(int)
    except (KeyError, OSError) as error:
        raise DatasetError(f"{path} is no test annotation of MPI-INF-3DHP: {error}.") from error
    if not len(px) == len(mm) == len(valid) == len(numbers):
        raise DatasetError(
            f"{path} has {len(px)} and {len(mm)} poses, {len(valid)} validity flags and "
            f"{len(numbers)} activities; the numbers must agree."
        )
    activities = tuple(ACTIVITIES.get(number, f"Activity{number}") for number in numbers.tolist())
    return SequenceLabels(Joints(px, mm), valid, activities)


def _test_joints(path: Path, content: Any, name: str) -> NDArray[np.float32]:
    wanted = (1, 17, 2 if name == "annot2" else 3)
    if content.shape[1:] != wanted:
        raise DatasetError(
            f"{path}: {name} has shape {content.shape}, expected (frames, *{wanted})."
        )
    joints: NDArray[np.float32] = content[()][:, 0].astype(np.float32)
    return joints


def read_calibration(path: Path, fps: float) -> dict[int, Camera]:
    """Return the cameras of `camera.calibration` by number, named by it; raises DatasetError.

    Seven lines per camera: name, sensor, size, animated, intrinsic and extrinsic (4 x 4, world to
    camera, mm), radial (0: there is no distortion).
    """
    entries: dict[int, dict[str, list[float]]] = {}
    number = None
    try:
        for line in path.read_text().splitlines()[1:]:
            words = line.split()
            if not words:
                continue
            if words[0] == "name":
                number = int(words[1])
                entries[number] = {}
            elif number is not None:
                entries[number][words[0]] = [float(word) for word in words[1:]]
        return {number: _camera(number, entry, fps) for number, entry in entries.items()}
    except (KeyError, ValueError, IndexError) as error:
        raise DatasetError(f"{path} is no calibration of MPI-INF-3DHP: {error}.") from error


def _camera(number: int, entry: dict[str, list[float]], fps: float) -> Camera:
    if any(entry.get("radial", [0.0])):
        raise ValueError(f"camera {number} has radial distortion, which no release had")
    intrinsic, extrinsic = (np.reshape(entry[key], (4, 4)) for key in ("intrinsic", "extrinsic"))
    return Camera(
        name=str(number),
        K=intrinsic[:3, :3],
        R=extrinsic[:3, :3],
        t_mm=extrinsic[:3, 3],
        fps=fps,
    )
