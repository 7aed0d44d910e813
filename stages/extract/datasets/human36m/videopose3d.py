"""Human3.6M as VideoPose3D prepares it, with the raw videos where there are any.

    <root>/data_3d_h36m.npz
    <root>/metadata.xml     or another calibration: camera_data.pkl or cameras.pkl
    <root>/data_2d_h36m_cpn_ft_h36m_dbb.npz     any number of 2D detections
    <root>/S1/Videos/Directions 1.54138969.mp4     or below extracted/

3D labels are the 32 joints in **world metres**, the same for all four cameras; they become mm in
each camera's frame, and 2D labels are their projection with the camera's distortion (Human3.6M's
own formula). The calibration is not in these files (VideoPose3D has it in its code), hence one of
the files above. Sequences have base names, with "Photo" and "WalkDog" for all subjects; actions and
subactions come from Human3.6M's table. Detections are imported under the name of their file
(`cpn_ft_h36m_dbb`); they may be longer than the 3D labels, and a clip ends with the shorter.
`frame` counts from 1. Without videos all pictures are missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.cameras import Camera, project, world_to_camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.human36m.cameras import find_camera_file, load_cameras
from stages.extract.datasets.human36m.clips import Clip, finite, join_clips
from stages.extract.datasets.human36m.detections import Detections, by_take, load_detections
from stages.extract.datasets.human36m.names import (
    BASE_NAMES,
    CAMERA_IDS,
    JOINTS_OF_32,
    Take,
    plain_name,
)
from stages.extract.datasets.human36m.protocol import Selection
from stages.extract.datasets.pickles import load_object_npz

_PREFIX = "data_2d_h36m_"


class Human36mVideoPose3D(FiledDataset):
    """Rows of VideoPose3D's label file: clips in name order, frames in order."""

    adapter = "human36m-videopose3d"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "human36m-videopose3d",
        cameras: str | None = None,
        detections: Sequence[str] | None = None,
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
        protocol: str = "keep",
        s11_directions: str = "drop",
    ) -> None:
        """Look which files there are.

        Args:
            root: folder of `data_3d_h36m.npz`.
            name: under which stores and tables list it.
            cameras: calibration file below the root; None looks for the usual ones.
            detections: which 2D files to import, such as `cpn_ft_h36m_dbb`; None for all there are.
            validation_subjects: subjects of the train split that become the split `validation`.
            subjects: keep only these.
            stride: keep every `stride`-th frame of each clip, 5 for mmpose's 10 fps.
            limit: keep at most this many rows of each split, evenly spaced.
            protocol: `keep` or `drop-damaged`, see `protocol.py`.
            s11_directions: `drop` or `keep`, see `protocol.py`.

        Raises:
            DatasetError: files are missing (all are named), or an option is none.
        """
        self._selection = Selection.of(
            subjects=subjects,
            validation_subjects=validation_subjects,
            stride=stride,
            limit=limit,
            protocol=protocol,
            s11_directions=s11_directions,
        )
        folder = Path(root)
        if detections is None:
            found = sorted(folder.glob(f"{_PREFIX}*.npz"))
            detections = [path.stem.removeprefix(_PREFIX) for path in found]
        self._detection_files = {key: folder / f"{_PREFIX}{key}.npz" for key in sorted(detections)}
        self._label_file = folder / "data_3d_h36m.npz"
        self._camera_file = find_camera_file(folder, cameras)
        super().__init__(
            root,
            name=name,
            annotations=[self._label_file, self._camera_file, *self._detection_files.values()],
            options=self._selection.identity(),
        )

    def _read(self) -> DatasetRows:
        content = load_object_npz(self._label_file)
        if not isinstance(content.get("positions_3d"), Mapping):
            raise DatasetError(
                f"{self._label_file} has no `positions_3d` as VideoPose3D writes it."
            )
        world = by_take(content["positions_3d"], self._label_file)
        detections = {key: load_detections(path) for key, path in self._detection_files.items()}
        cameras = load_cameras(self._camera_file)
        clips = [
            self._clip(take, number, positions, cameras, detections)
            for take, positions in world.items()
            if self._selection.keeps(take)
            for number in range(len(CAMERA_IDS))
        ]
        skeletons = {key: found.skeleton for key, found in detections.items()}
        return join_clips(clips, cameras, self._selection, skeletons)

    def _clip(
        self,
        take: Take,
        number: int,
        positions_m: Any,
        cameras: Mapping[tuple[str, str], Camera],
        detections: Mapping[str, Detections],
    ) -> Clip:
        camera = cameras.get((take.subject, CAMERA_IDS[number]))
        if camera is None:
            raise DatasetError(
                f"{self._camera_file} lacks camera {CAMERA_IDS[number]} of {take.subject}."
            )
        positions = np.asarray(positions_m, dtype=np.float64)
        if positions.ndim != 3 or positions.shape[1:] != (32, 3):
            raise DatasetError(
                f"{self._label_file}: {take.subject} {BASE_NAMES[take]!r} must have shape "
                f"(N, 32, 3), it has {positions.shape}."
            )
        imported = {key: found.of(take, number) for key, found in detections.items()}
        length = min([len(positions), *(len(points) for points in imported.values())])
        joints_mm = world_to_camera(positions[:length, JOINTS_OF_32] * 1000.0, camera)
        joints_3d_mm = joints_mm.astype(np.float32)
        joints_2d_px = project(joints_mm, camera).astype(np.float32)
        return Clip(
            name=f"{take.subject}/{plain_name(BASE_NAMES[take])}.{CAMERA_IDS[number]}",
            take=take,
            camera=number,
            pictures=self._video(take, number),
            frames=np.arange(1, length + 1, dtype=np.int32),
            valid=finite(joints_2d_px, joints_3d_mm),
            joints_2d_px=joints_2d_px,
            joints_3d_mm=joints_3d_mm,
            imported={key: points[:length] for key, points in imported.items()},
        )

    def _video(self, take: Take, number: int) -> str:
        """Return where the video is, under the name the raw files or VideoPose3D give it."""
        base_name = BASE_NAMES[take]
        candidates = [
            f"{prefix}{take.subject}/Videos/{spelling}.{CAMERA_IDS[number]}.mp4"
            for prefix in ("", "extracted/")
            for spelling in (base_name, plain_name(base_name))
        ]
        return next((path for path in candidates if (self._root / path).is_file()), candidates[0])
