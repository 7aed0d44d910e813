"""MPI-INF-3DHP as P-STMO and Context-Aware PoseFormer prepare it.

    <root>/data_train_3dhp.npz
    <root>/data_test_3dhp.npz
    <root>/images/s_01_seq_01_ca_00/s_01_seq_01_ca_00_000001.jpg
    <root>/images/TS1/TS1_000001.jpg

The files hold 2D labels in px and univ_annot3 in mm, absolute in the camera's frame; their
published loaders subtract the root. Cropped keypoints (`data_2d_crop`) are not read: those of
cameras 4 to 8 were made with another camera's intrinsics than the pictures.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.mpi_inf_3dhp.facts import (
    CHEST_HIGH_CAMERAS,
    TEST_SUBJECTS,
    clip_name,
    nominal_camera,
    nominal_test_camera,
)
from stages.extract.datasets.mpi_inf_3dhp.rows import (
    UNIVERSAL_NOTE,
    Clip,
    Joints,
    Selection,
    dataset_rows,
)
from stages.extract.datasets.pickles import load_object_npz
from stages.extract.datasets.pictures import picture_size

Intrinsics = Literal["none", "nominal"]

_SEQUENCE = re.compile(r"(S\d) (Seq\d)$")
_CROP_SIZE = (256, 192)
_NOMINAL_NOTE = (
    "The cameras are nominal: one set of studio intrinsics for all sequences, camera 8 for TS1 to "
    "TS4; there are no extrinsics, so their world is the camera's frame."
)


class MpiInf3dhpPstmo(FiledDataset):
    """Rows of the prepared arrays: subjects, sequences and cameras in order, then frames."""

    adapter = "mpi-inf-3dhp-pstmo"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "mpi-inf-3dhp-pstmo",
        cameras: Sequence[int] = CHEST_HIGH_CAMERAS,
        intrinsics: Intrinsics = "none",
        skeleton: Joints = "MPI17",
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the folder of the two files.

        Args:
            root: folder of `data_train_3dhp.npz`, `data_test_3dhp.npz` and `images/`.
            name: under which stores and tables list it.
            cameras: numbers of the training cameras.
            intrinsics: the files have none; `nominal` takes those that the published pictures
                were cropped with, which boxes from 3D labels (gt3d) need.
            skeleton: `MPI17`, or `H36M17`: the same joints in Human3.6M's order, so that joints of
                COCO detectors can be converted to it.
            validation_subjects: training subjects that become the split `validation`.
            subjects: keep only these, `S1` to `S8` and `TS1` to `TS6`.
            stride: keep every `stride`-th labelled frame of each clip.
            limit: keep at most this many rows of each split, evenly spaced.

        Raises:
            DatasetError: files are missing, or an option is out of range.
        """
        if intrinsics not in get_args(Intrinsics):
            raise DatasetError(f"intrinsics is one of {get_args(Intrinsics)}, got {intrinsics!r}.")
        self._train_file = Path(root) / "data_train_3dhp.npz"
        self._test_file = Path(root) / "data_test_3dhp.npz"
        self._cameras, self._intrinsics = tuple(sorted(set(cameras))), intrinsics
        self._skeleton: Joints = skeleton
        self._selection = Selection.of(validation_subjects, subjects, stride, limit)
        super().__init__(
            root,
            name=name,
            annotations=[self._train_file, self._test_file],
            options={
                "cameras": list(self._cameras),
                "intrinsics": intrinsics,
                "skeleton": skeleton,
                **self._selection.options(),
            },
            pictures_root=Path(root) / "images",
        )

    def _read(self) -> DatasetRows:
        clips: list[Clip] = []
        cameras: dict[str, Camera] = {}
        for sequence, entry in sorted(_entries(self._train_file).items()):
            if not isinstance(entry, list) or len(entry) != 2 or not isinstance(entry[0], dict):
                raise DatasetError(f"{self._train_file}: {sequence!r} is not [cameras, fps].")
            by_camera, fps = entry
            for clip, number in self._train_clips(sequence, by_camera):
                clips.append(clip)
                if self._intrinsics == "nominal":
                    cameras[clip.name] = _known_camera(clip.name, number, float(fps))
        for subject, entry in sorted(_entries(self._test_file).items()):
            if not self._selection.has(subject):
                continue
            clips.append(_test_clip(self._test_file, subject, entry))
            if self._intrinsics == "nominal":
                cameras[subject] = nominal_test_camera(subject)
        self._refuse_crops(clips)
        return dataset_rows(
            clips,
            self._selection,
            skeleton=self._skeleton,
            cameras=cameras,
            source=str(self._root),
            notes=(UNIVERSAL_NOTE, _NOMINAL_NOTE) if cameras else (UNIVERSAL_NOTE,),
        )

    def _train_clips(self, sequence: str, by_camera: Any) -> Iterator[tuple[Clip, int]]:
        match = _SEQUENCE.match(sequence)
        if match is None:
            raise DatasetError(f"{self._train_file} has a key {sequence!r}, not like 'S1 Seq1'.")
        subject, name = match.groups()
        if not self._selection.has(subject):
            return
        # Keys are the cameras' own numbers, not their positions: 0, 1, 2, 4, 5...
        missing = [number for number in self._cameras if str(number) not in by_camera]
        if missing:
            raise DatasetError(
                f"{self._train_file}: {sequence!r} lacks the cameras {missing}, it has "
                f"{sorted(by_camera)}. Leave them out: --set dataset.options.cameras=[...]."
            )
        for number in self._cameras:
            pixels, joints = _arrays(self._train_file, by_camera[str(number)])
            folder = f"s_{int(subject[1:]):02d}_seq_{int(name[3:]):02d}_ca_{number:02d}"
            clip = Clip(
                name=clip_name(subject, name, number),
                subject=subject,
                frames=np.arange(1, len(pixels) + 1, dtype=np.int32),
                joints_2d_px=pixels,
                joints_3d_mm=joints,
                pictures=[f"{folder}/{folder}_{i + 1:06d}.jpg" for i in range(len(pixels))],
                actions=name,
            )
            yield clip, number

    def _refuse_crops(self, clips: Sequence[Clip]) -> None:
        """The published preparation overwrites the pictures with crops of 192 x 256."""
        for clip in clips:
            if len(clip.pictures):
                path = self._pictures_root / clip.pictures[0]
                if picture_size(path) == _CROP_SIZE:
                    raise DatasetError(
                        f"{path} is a crop of 192 x 256, not the picture that the labels belong "
                        "to. Take the pictures out of the videos again, without the step that "
                        "makes them small."
                    )


def _known_camera(name: str, number: int, fps: float) -> Camera:
    try:
        return nominal_camera(name, number, fps)
    except KeyError as error:
        raise DatasetError(
            f"There are no nominal intrinsics of camera {number}, only of {CHEST_HIGH_CAMERAS}. "
            "Leave the others out: --set dataset.options.cameras=[...]."
        ) from error


def _test_clip(path: Path, subject: str, entry: Any) -> Clip:
    if subject not in TEST_SUBJECTS:
        raise DatasetError(f"{path} has a key {subject!r}, not TS1 to TS6.")
    pixels, joints = _arrays(path, entry)
    valid = np.ravel(entry.get("valid", ()))
    if len(valid) != len(pixels):
        raise DatasetError(
            f"{path}: {subject} has {len(valid)} validity flags for {len(pixels)} frames."
        )
    rows = np.flatnonzero(valid)
    return Clip(
        name=subject,
        subject=subject,
        frames=(rows + 1).astype(np.int32),
        joints_2d_px=pixels[rows],
        joints_3d_mm=joints[rows],
        pictures=[f"{subject}/{subject}_{row + 1:06d}.jpg" for row in rows.tolist()],
        actions=subject,
    )


def _entries(path: Path) -> dict[str, Any]:
    content = load_object_npz(path).get("data")
    if not isinstance(content, dict):
        raise DatasetError(f"{path} has no dictionary 'data', as P-STMO's files have.")
    return content


def _arrays(path: Path, entry: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    try:
        pixels, joints = (
            np.asarray(entry[key], dtype=np.float32) for key in ("data_2d", "data_3d")
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} has an entry without data_2d and data_3d: {error}.") from error
    if pixels.shape[1:] != (17, 2) or joints.shape != (*pixels.shape[:2], 3):
        raise DatasetError(
            f"{path}: data_2d and data_3d must be (frames, 17, 2) and (frames, 17, 3), got "
            f"{pixels.shape} and {joints.shape}."
        )
    return pixels, joints
