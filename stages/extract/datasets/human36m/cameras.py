"""Human3.6M's calibration from any of the three files that carry it.

- `cameras.pkl` (mmpose): ("S1", "54138969") -> R maps **camera to world**, T is the camera's centre
  in **metres**: X_world = R X_cam + T.
- `camera_data.pkl` (H36M-Toolbox, CA-PF): (1, 1) -> (R, T, f, c, k, p, name), cameras counted from
  1; R maps **world to camera**, T is the camera's centre in **mm**: X_cam = R (X_world - T).
- `metadata.xml`: the same as angles, R = Rx(a0) Ry(a1) Rz(a2), centre in mm.

All three become the cache's X_cam = R X_world + t. Distortion is Human3.6M's own formula, with
tangential factor 1, in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.cameras import Camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.metadata import read_metadata
from stages.extract.datasets.human36m.names import CAMERA_IDS, FPS, SUBJECTS
from stages.extract.datasets.pickles import load_pickle

CameraKey = tuple[str, str]
"""Subject and camera id, such as ("S1", "54138969")."""

CAMERA_FILES = (
    "metadata.xml",
    "camera_data.pkl",
    "cameras.pkl",
    "annotation_body3d/cameras.pkl",
)
"""Where calibrations are looked for below a data set's folder, in this order."""


def find_camera_file(root: Path, name: str | None = None) -> Path:
    """Return the calibration file `name`, or the first of `CAMERA_FILES` that is there.

    Where none is, the first of them is returned, to be listed as missing with whatever else is.
    """
    if name is not None:
        return root / name
    candidates = [root / candidate for candidate in CAMERA_FILES]
    return next((path for path in candidates if path.is_file()), candidates[0])


def load_cameras(path: Path, *, fps: float = FPS) -> Mapping[CameraKey, Camera]:
    """Return every camera of a calibration file; raises DatasetError if it is none."""
    if path.suffix == ".xml":
        return _from_numbers(read_metadata(path).camera_numbers, fps)
    known = load_pickle(path)
    try:
        if isinstance(next(iter(known.values())), dict):
            return {key: mmpose_camera(key, entry, fps) for key, entry in known.items()}
        return dict(_toolbox_camera(key, entry, fps) for key, entry in known.items())
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, StopIteration) as error:
        raise DatasetError(
            f"{path} holds cameras neither as mmpose's cameras.pkl nor as the H36M-Toolbox's "
            f"camera_data.pkl: {error!r}."
        ) from error


def mmpose_camera(key: CameraKey, entry: Mapping[str, Any], fps: float) -> Camera:
    """Return one camera of mmpose's `cameras.pkl`."""
    return _camera(
        key,
        world_to_camera=np.asarray(entry["R"], dtype=np.float64).T,
        centre_mm=np.ravel(entry["T"]).astype(np.float64) * 1000.0,
        focal=entry["f"],
        principal=entry["c"],
        # Detector-only sets may come without distortion.
        radial=entry.get("k", np.zeros(3)),
        tangential=entry.get("p", np.zeros(2)),
        fps=fps,
    )


def _toolbox_camera(
    key: tuple[int, int], entry: tuple[Any, ...], fps: float
) -> tuple[CameraKey, Camera]:
    rotation, centre, focal, principal, radial, tangential = entry[:6]
    name = (f"S{key[0]}", CAMERA_IDS[key[1] - 1])
    return name, _camera(
        name,
        world_to_camera=np.asarray(rotation, dtype=np.float64),
        centre_mm=np.ravel(centre).astype(np.float64),
        focal=focal,
        principal=principal,
        radial=radial,
        tangential=tangential,
        fps=fps,
    )


def _from_numbers(numbers: NDArray[np.float64], fps: float) -> Mapping[CameraKey, Camera]:
    cameras = {}
    for subject in SUBJECTS:
        for position, camera_id in enumerate(CAMERA_IDS):
            extrinsic = numbers[6 * (11 * position + int(subject[1:]) - 1) :][:6]
            intrinsic = numbers[264 + 9 * position :][:9]
            cameras[subject, camera_id] = _camera(
                (subject, camera_id),
                world_to_camera=_rotation(extrinsic[:3]),
                centre_mm=extrinsic[3:],
                focal=intrinsic[:2],
                principal=intrinsic[2:4],
                radial=intrinsic[4:7],
                tangential=intrinsic[7:],
                fps=fps,
            )
    return cameras


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return Rx Ry Rz of three angles in rad."""
    rotation = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[second, first] = np.sin(angle)
        turn[first, second] = -turn[second, first]
        rotation = rotation @ turn
    return rotation


def _camera(
    key: CameraKey,
    *,
    world_to_camera: NDArray[np.float64],
    centre_mm: NDArray[np.float64],
    focal: ArrayLike,
    principal: ArrayLike,
    radial: ArrayLike,
    tangential: ArrayLike,
    fps: float,
) -> Camera:
    (fx, fy), (cx, cy) = np.ravel(focal), np.ravel(principal)
    k, p = np.ravel(radial), np.ravel(tangential)
    return Camera(
        name=f"{key[0]}.{key[1]}",
        K=np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64),
        R=world_to_camera,
        t_mm=-world_to_camera @ centre_mm,
        distortion=(float(k[0]), float(k[1]), float(p[0]), float(p[1]), float(k[2])),
        distortion_model="human36m",
        fps=fps,
    )
