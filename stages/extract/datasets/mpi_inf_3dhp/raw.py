"""MPI-INF-3DHP as its authors distribute it.

    <root>/S1/Seq1/annot.mat
    <root>/S1/Seq1/camera.calibration
    <root>/S1/Seq1/imageSequence/video_0.avi          one per camera
    <root>/mpi_inf_3dhp_test_set/TS1/annot_data.mat
    <root>/mpi_inf_3dhp_test_set/TS1/imageSequence/img_000001.jpg

Training labels have 28 joints, of which the 17 of the test set are kept. Only the frames of the
official lengths are rows, and of the test set only the frames marked valid.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from cache.cameras import Camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.mpi_inf_3dhp.facts import (
    CHEST_HIGH_CAMERAS,
    SEQUENCES,
    TEST_SUBJECTS,
    clip_name,
    nominal_test_camera,
)
from stages.extract.datasets.mpi_inf_3dhp.files import (
    Labels,
    read_calibration,
    read_test_labels,
    read_train_labels,
)
from stages.extract.datasets.mpi_inf_3dhp.rows import (
    UNIVERSAL_NOTE,
    Clip,
    Joints,
    Selection,
    dataset_rows,
)

OutdoorCamera = Literal["calibration", "pinhole"]

_TEST_FOLDER = "mpi_inf_3dhp_test_set"
_TEST_NOTE = (
    "The test set's cameras are nominal: studio camera 8 for TS1 to TS4, the published calibration "
    "for TS5 and TS6; they have no extrinsics (those of TS2 are inaccurate), so their world is the "
    "camera's frame."
)


class MpiInf3dhp(FiledDataset):
    """Rows of all sequences found: subjects, sequences and cameras in order, then frames."""

    adapter = "mpi-inf-3dhp"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "mpi-inf-3dhp",
        labels: Labels = "annot3",
        cameras: Sequence[int] = CHEST_HIGH_CAMERAS,
        outdoor_camera: OutdoorCamera = "calibration",
        picture_pattern: str | None = None,
        skeleton: Joints = "MPI17",
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the dataset's folder.

        Args:
            root: folder of `S1/` and so on; subjects that are not there are left out.
            name: under which stores and tables list it.
            labels: `annot3` projects onto the picture; `univ_annot3`, which the published results
                are measured on, has every person scaled to one height and does not.
            cameras: numbers of the training cameras.
            outdoor_camera: TS5 and TS6 with their calibration's distortion, or without.
            picture_pattern: where training pictures lie that were taken out of the videos, below
                a sequence's folder, `imageFrames/video_{camera}/frame_{frame:06d}.jpg` for
                example; frames count from 1. None reads the videos.
            skeleton: `MPI17`, or `H36M17`: the same joints in Human3.6M's order, so that joints of
                COCO detectors can be converted to it.
            validation_subjects: training subjects that become the split `validation`.
            subjects: keep only these, `S1` to `S8` and `TS1` to `TS6`; each must be there.
            stride: keep every `stride`-th labelled frame of each clip.
            limit: keep at most this many rows of each split, evenly spaced.

        Raises:
            DatasetError: annotations are missing, or an option is out of range.
        """
        if labels not in get_args(Labels) or outdoor_camera not in get_args(OutdoorCamera):
            raise DatasetError(
                f"labels is one of {get_args(Labels)} and outdoor_camera one of "
                f"{get_args(OutdoorCamera)}, got {labels!r} and {outdoor_camera!r}."
            )
        self._labels, self._outdoor_camera = labels, outdoor_camera
        self._cameras = tuple(sorted(set(cameras)))
        self._picture_pattern = picture_pattern
        self._skeleton: Joints = skeleton
        self._selection = Selection.of(validation_subjects, subjects, stride, limit)
        self._sequences = [key for key in SEQUENCES if self._wants(Path(root) / key[0])]
        self._tests = [
            subject for subject in TEST_SUBJECTS if self._wants(Path(root) / _TEST_FOLDER / subject)
        ]
        if not self._sequences and not self._tests:
            raise DatasetError(
                f"{root} has none of the folders S1 to S8 and {_TEST_FOLDER}/TS1 to TS6.\n"
                f"{self.layout_hint()}"
            )
        super().__init__(
            root,
            name=name,
            annotations=_annotations(Path(root), self._sequences, self._tests),
            options={
                "labels": labels,
                "cameras": list(self._cameras),
                "outdoor_camera": outdoor_camera,
                "picture_pattern": picture_pattern,
                "skeleton": skeleton,
                **self._selection.options(),
            },
        )

    def _wants(self, folder: Path) -> bool:
        """A subject that is asked for by name is wanted even if its folder is missing."""
        if self._selection.subjects is not None:
            return self._selection.has(folder.name)
        return folder.is_dir()

    def _read(self) -> DatasetRows:
        clips: list[Clip] = []
        cameras: dict[str, Camera] = {}
        for subject, sequence in self._sequences:
            found, calibrated = self._read_sequence(subject, sequence)
            clips += found
            cameras |= calibrated
        for subject in self._tests:
            clips.append(self._read_test(subject))
            cameras[subject] = nominal_test_camera(
                subject, distorted=self._outdoor_camera == "calibration"
            )
        notes = ((UNIVERSAL_NOTE,) if self._labels == "univ_annot3" else ()) + (
            (_TEST_NOTE,) if self._tests else ()
        )
        return dataset_rows(
            clips,
            self._selection,
            cameras=cameras,
            source=str(self._root),
            skeleton=self._skeleton,
            notes=notes,
        )

    def _read_sequence(self, subject: str, sequence: str) -> tuple[list[Clip], dict[str, Camera]]:
        num_frames, fps = SEQUENCES[subject, sequence]
        folder = self._root / subject / sequence
        calibrated = read_calibration(folder / "camera.calibration", fps)
        missing = [camera for camera in self._cameras if camera not in calibrated]
        if missing:
            raise DatasetError(f"{folder / 'camera.calibration'} lacks the cameras {missing}.")
        joints = read_train_labels(folder / "annot.mat", self._labels, self._cameras, num_frames)
        clips, cameras = [], {}
        for camera in self._cameras:
            name = clip_name(subject, sequence, camera)
            cameras[name] = replace(calibrated[camera], name=name)
            frames = np.arange(1, len(joints[camera].px) + 1, dtype=np.int32)
            clips.append(
                Clip(
                    name=name,
                    subject=subject,
                    frames=frames,
                    joints_2d_px=joints[camera].px,
                    joints_3d_mm=joints[camera].mm,
                    pictures=self._train_pictures(f"{subject}/{sequence}", camera, frames.tolist()),
                    actions=sequence,
                )
            )
        return clips, cameras

    def _train_pictures(
        self, folder: str, camera: int, frames: Iterable[int]
    ) -> Sequence[str] | str:
        if self._picture_pattern is None:
            return f"{folder}/imageSequence/video_{camera}.avi"
        try:
            return [
                f"{folder}/{self._picture_pattern.format(camera=camera, frame=frame)}"
                for frame in frames
            ]
        except (KeyError, IndexError, ValueError) as error:
            raise DatasetError(
                f"picture_pattern {self._picture_pattern!r} may hold only {{camera}} and "
                f"{{frame:06d}}: {error}."
            ) from error

    def _read_test(self, subject: str) -> Clip:
        folder = f"{_TEST_FOLDER}/{subject}"
        labels = read_test_labels(self._root / folder / "annot_data.mat", self._labels)
        rows = np.flatnonzero(labels.valid)
        return Clip(
            name=subject,
            subject=subject,
            frames=(rows + 1).astype(np.int32),
            joints_2d_px=labels.joints.px[rows],
            joints_3d_mm=labels.joints.mm[rows],
            pictures=[f"{folder}/imageSequence/img_{row + 1:06d}.jpg" for row in rows.tolist()],
            actions=[labels.activities[row] for row in rows.tolist()],
        )


def _annotations(
    root: Path, sequences: Iterable[tuple[str, str]], tests: Iterable[str]
) -> list[Path]:
    train = [
        root / subject / sequence / name
        for subject, sequence in sequences
        for name in ("annot.mat", "camera.calibration")
    ]
    return train + [root / _TEST_FOLDER / subject / "annot_data.mat" for subject in tests]
