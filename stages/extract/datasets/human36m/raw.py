"""Human3.6M as its site gives it: videos and cdf files, in either spelling that tools unpack.

    <root>/S1/Videos/Directions 1.54138969.mp4
    <root>/S1/MyPoseFeatures/D2_Positions/Directions 1.54138969.cdf
    <root>/S1/MyPoseFeatures/D3_Positions_mono/Directions 1.54138969.cdf
    <root>/metadata.xml     or another calibration: camera_data.pkl or cameras.pkl
    or, instead of S1/Videos and S1/MyPoseFeatures:
    <root>/extracted/S1/Videos, Poses_D2_Positions, Poses_D3_Positions_mono

Labels are px and mm in the frame of each camera, as the files have them (`D3_Positions_mono`; never
`D3_Positions_mono_universal`, another skeleton). Files have base names; actions and subactions come
from the table in metadata.xml where that is, else from the same table built in. Videos are some
frames longer than their labels, and those of one sequence differ: a clip ends with its labels. A
video that ends earlier, or is missing, gives bad rows. `frame` counts from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.human36m.cameras import find_camera_file, load_cameras
from stages.extract.datasets.human36m.cdf import read_pose
from stages.extract.datasets.human36m.clips import Clip, finite, join_clips
from stages.extract.datasets.human36m.metadata import read_metadata
from stages.extract.datasets.human36m.names import (
    BASE_NAMES,
    CAMERA_IDS,
    SUBJECTS,
    BaseNames,
    Take,
)
from stages.extract.datasets.human36m.protocol import Selection

_POSES_2D = ("MyPoseFeatures/D2_Positions", "Poses_D2_Positions")
_POSES_3D = ("MyPoseFeatures/D3_Positions_mono", "Poses_D3_Positions_mono")
_READERS = 4


@dataclass(frozen=True)
class _Source:
    """Where one sequence and camera is, below the root."""

    take: Take
    camera: int
    name: str
    poses_2d: str
    poses_3d: str
    video: str


class Human36mRaw(FiledDataset):
    """Rows of the raw files: clips in name order, frames in order."""

    adapter = "human36m-raw"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "human36m-raw",
        cameras: str | None = None,
        incomplete: bool = False,
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
        protocol: str = "keep",
        s11_directions: str = "drop",
    ) -> None:
        """Look which files there are.

        Args:
            root: folder of `S1/` .. `S11/`, or of `extracted/`.
            name: under which stores and tables list it.
            cameras: calibration file below the root; None looks for the usual ones.
            incomplete: True takes the sequences that are there; else each subject needs all its
                30 sequences from four cameras.
            validation_subjects: subjects of the train split that become the split `validation`.
            subjects: keep only these; None for all that have a folder.
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
        metadata = folder / "metadata.xml"
        names = read_metadata(metadata).base_names if metadata.is_file() else BASE_NAMES
        self._sources = self._find_sources(folder, names, incomplete)
        self._camera_file = find_camera_file(folder, cameras)
        files = [folder / path for source in self._sources for path in _label_files(source)]
        tables = [metadata] if metadata.is_file() and metadata != self._camera_file else []
        super().__init__(
            root,
            name=name,
            annotations=[*files, *tables, self._camera_file],
            options=self._selection.identity(),
        )

    @classmethod
    def layout_hint(cls) -> str:
        """Which folder is wanted, and how to take a part of it."""
        return (
            f"{super().layout_hint()}\n"
            "dataset.options.incomplete=true takes the sequences that are there."
        )

    def _find_sources(self, root: Path, names: BaseNames, incomplete: bool) -> list[_Source]:
        folders = {
            subject: f"{prefix}{subject}"
            for subject in self._selection.subjects or SUBJECTS
            for prefix in ("extracted/", "")
            if (root / f"{prefix}{subject}").is_dir()
        }
        lacking = [s for s in self._selection.subjects or () if s not in folders]
        if lacking or not folders:
            raise DatasetError(
                f"{root} has no folder of {', '.join(lacking) or 'any subject'}.\n"
                f"{self.layout_hint()}"
            )
        found = [
            _source(root, folder, Take(subject, action, subaction), base_name, camera)
            for subject, folder in folders.items()
            for (of_subject, action, subaction), base_name in names.items()
            if of_subject == subject and self._selection.keeps(Take(subject, action, subaction))
            for camera in range(len(CAMERA_IDS))
        ]
        if incomplete:
            found = [s for s in found if any((root / path).is_file() for path in _label_files(s))]
        return found

    def _read(self) -> DatasetRows:
        with ThreadPoolExecutor(_READERS) as pool:
            clips = list(pool.map(self._read_clip, self._sources))
        return join_clips(clips, load_cameras(self._camera_file), self._selection)

    def _read_clip(self, source: _Source) -> Clip:
        joints_2d_px = read_pose(self._root / source.poses_2d, 2)
        joints_3d_mm = read_pose(self._root / source.poses_3d, 3)
        length = min(len(joints_2d_px), len(joints_3d_mm))
        joints_2d_px, joints_3d_mm = joints_2d_px[:length], joints_3d_mm[:length]
        return Clip(
            name=source.name,
            take=source.take,
            camera=source.camera,
            pictures=source.video,
            frames=np.arange(1, length + 1, dtype=np.int32),
            valid=finite(joints_2d_px, joints_3d_mm),
            joints_2d_px=joints_2d_px,
            joints_3d_mm=joints_3d_mm,
        )


def _source(root: Path, folder: str, take: Take, base_name: str, camera: int) -> _Source:
    stem = f"{base_name}.{CAMERA_IDS[camera]}"
    poses_2d, poses_3d = (
        next((part for part in parts if (root / folder / part).is_dir()), parts[0])
        for parts in (_POSES_2D, _POSES_3D)
    )
    return _Source(
        take,
        camera,
        name=f"{take.subject}/{stem}",
        poses_2d=f"{folder}/{poses_2d}/{stem}.cdf",
        poses_3d=f"{folder}/{poses_3d}/{stem}.cdf",
        video=f"{folder}/Videos/{stem}.mp4",
    )


def _label_files(source: _Source) -> tuple[str, str]:
    return source.poses_2d, source.poses_3d
