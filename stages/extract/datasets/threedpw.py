"""3DPW, people outdoors filmed by a moving camera.

    <root>/sequenceFiles/train/courtyard_arguing_00.pkl    also validation/ and test/
    <root>/imageFiles/courtyard_arguing_00/image_00000.jpg

One or two people per picture, each a clip of its own. Labels are the 24 joints of SMPL in world
metres, taken to the camera of each picture; 2D labels are their projection.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera, project
from cache.conversions import conversion_note, convert_keypoints
from cache.imported import ImportedKeypoints
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.pickles import load_pickle
from stages.extract.datasets.picture_files import PictureFiles
from stages.extract.datasets.rows import choose_rows

JointSet = Literal["H36M17", "SMPL24"]
Kept = Literal["evaluated", "all"]

SPLITS = ("train", "validation", "test")
COCO17_OF_OPENPOSE18 = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
"""Positions of COCO17's joints in OpenPose's 18: those have a neck, and the right side first."""

_FPS = 30.0
_NUM_SMPL_JOINTS = 24
_NUM_OPENPOSE_JOINTS = 18


@dataclass(frozen=True, eq=False)
class _Person:
    """One person of one sequence, every frame.

    Args:
        split: position in `SPLITS`.
        sequence: name.
        person: position in the file.
        K: `[3, 3]` intrinsics.
        extrinsics: `[n, 3, 4]` world to camera, mm.
        joints_mm: `[n, 24, 3]` camera frame.
        openpose: `[n, 18, 3]` x, y px and score, zeros where too few joints were found.
        posed: `[n]` the camera's pose is trusted.
    """

    split: int
    sequence: str
    person: int
    K: NDArray[np.float64]
    extrinsics: NDArray[np.float64]
    joints_mm: NDArray[np.float64]
    openpose: NDArray[np.float32]
    posed: NDArray[np.bool_]

    @property
    def name(self) -> str:
        """Name of the clip."""
        return f"{self.sequence}.{self.person}"


class ThreeDPW(FiledDataset):
    """Rows of all sequences in name order, person by person, then frames."""

    adapter = "3dpw"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "3dpw",
        skeleton: JointSet = "H36M17",
        rows: Kept = "evaluated",
        sequences: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the dataset's folder.

        Args:
            root: folder of `sequenceFiles/` and `imageFiles/`.
            name: under which stores and tables list it.
            skeleton: `SMPL24` keeps the joints as they are, `H36M17` picks those of the same name,
                which are not Human3.6M's.
            rows: `evaluated` are those that the dataset's own evaluation counts: the camera's pose
                is valid and OpenPose found the person; `all` keeps the others too, and marks
                joints invalid where the camera's pose is.
            sequences: keep only these; each must be there.
            stride: keep every `stride`-th kept frame of each person.
            limit: keep at most this many rows of each split, evenly spaced.

        Raises:
            DatasetError: sequences are missing, or an option is out of range.
        """
        if skeleton not in get_args(JointSet) or rows not in get_args(Kept):
            raise DatasetError(
                f"skeleton is one of {get_args(JointSet)} and rows one of {get_args(Kept)}, got "
                f"{skeleton!r} and {rows!r}."
            )
        self._skeleton, self._kept = skeleton, rows
        self._stride, self._limit = stride, limit
        self._files = _sequence_files(Path(root), sequences)
        if not self._files:
            raise DatasetError(
                f"{root} has no sequenceFiles/{{train,validation,test}}/*.pkl.\n"
                f"{self.layout_hint()}"
            )
        super().__init__(
            root,
            name=name,
            annotations=[path for _, path in self._files],
            options={
                "skeleton": skeleton,
                "kept": rows,
                "sequences": None if sequences is None else sorted(sequences),
                "stride": stride,
                "limit": limit,
            },
            pictures_root=Path(root) / "imageFiles",
        )

    def _read(self) -> DatasetRows:
        people = [person for split, path in self._files for person in _read_sequence(path, split)]
        table = self._table(people)
        owners = [people[number] for number in table["person"]]
        frames = table["frame"].tolist()
        cameras, camera_of_row = _cameras(owners)
        joints = convert_keypoints(table["joints_mm"], "SMPL24", self._skeleton)
        pixels = np.empty((*joints.shape[:2], 2))
        for number, camera in enumerate(cameras):
            pixels[camera_of_row == number] = project(joints[camera_of_row == number], camera)
        valid = np.isfinite(pixels).all(axis=-1) & table["posed"][:, None]
        plan = RowPlan(
            skeleton=self._skeleton,
            joints_2d_px=np.where(valid[..., None], pixels, 0).astype(np.float32),
            joints_3d_mm=np.where(valid[..., None], joints, 0).astype(np.float32),
            valid=valid,
            index={
                "split": IndexColumn(table["split"], SPLITS),
                # Who a person is, is known within a sequence only.
                "subject": IndexColumn.from_words([owner.name for owner in owners]),
                "action": IndexColumn.from_words([owner.sequence for owner in owners]),
                "subaction": IndexColumn.from_words(["0"] * len(owners)),
                "camera": IndexColumn(camera_of_row, tuple(camera.name for camera in cameras)),
                "person": IndexColumn.from_words([str(owner.person) for owner in owners]),
                "clip": IndexColumn.from_words([owner.name for owner in owners]),
                "frame": IndexColumn(table["frame"]),
                "item": IndexColumn.from_words(
                    [f"{owner.name}.{i:05d}" for owner, i in zip(owners, frames, strict=True)]
                ),
            },
            image_size=np.zeros((len(owners), 2), dtype=np.int32),
            cameras=cameras,
            extrinsics=table["extrinsics"],
        )
        pictures = PictureFiles.from_paths(
            [f"{owner.sequence}/image_{i:05d}.jpg" for owner, i in zip(owners, frames, strict=True)]
        )
        found = ImportedKeypoints("COCO17", table["openpose"][:, list(COCO17_OF_OPENPOSE18)])
        note = conversion_note("SMPL24", self._skeleton)
        return DatasetRows(plan, pictures, {"openpose": found}, () if note is None else (note,))

    def _table(self, people: Sequence[_Person]) -> dict[str, NDArray[Any]]:
        """Return columns of the kept rows, `person` being the position in `people`."""
        lengths = [len(person.posed) for person in people]
        table: dict[str, NDArray[Any]] = {
            name: np.concatenate([getattr(person, name) for person in people])
            for name in ("posed", "joints_mm", "extrinsics", "openpose")
        }
        table["person"] = np.repeat(np.arange(len(people)), lengths)
        table["frame"] = np.concatenate([np.arange(length, dtype=np.int32) for length in lengths])
        table["split"] = np.repeat([person.split for person in people], lengths)
        counted = table["posed"] & table["openpose"].any(axis=(1, 2))
        order = choose_rows(
            table["split"],
            table["person"],
            table["frame"],
            stride=self._stride,
            limit=self._limit,
            keep=counted if self._kept == "evaluated" else None,
        )
        if not len(order):
            raise DatasetError(f"{self._root}: no frame has a valid camera and a found person.")
        return {name: values[order] for name, values in table.items()}


def _cameras(owners: Sequence[_Person]) -> tuple[tuple[Camera, ...], NDArray[np.int32]]:
    """Return one camera per sequence, whose pose is the row's, and each row's position in them."""
    positions: dict[str, int] = {}
    codes = [positions.setdefault(owner.sequence, len(positions)) for owner in owners]
    intrinsics = {owner.sequence: owner.K for owner in owners}
    cameras = tuple(
        Camera(name=name, K=intrinsics[name], R=np.eye(3), t_mm=np.zeros(3), fps=_FPS)
        for name in positions
    )
    return cameras, np.array(codes, dtype=np.int32)


def _sequence_files(root: Path, sequences: Sequence[str] | None) -> list[tuple[int, Path]]:
    files = [
        (code, path)
        for code, split in enumerate(SPLITS)
        for path in sorted((root / "sequenceFiles" / split).glob("*.pkl"))
    ]
    if sequences is None:
        return files
    missing = sorted(set(sequences) - {path.stem for _, path in files})
    if missing:
        raise DatasetError(f"{root}/sequenceFiles has no sequences {missing}.")
    return [(code, path) for code, path in files if path.stem in sequences]


def _read_sequence(path: Path, split: int) -> Iterator[_Person]:
    content = load_pickle(path)
    try:
        poses = np.asarray(content["cam_poses"], dtype=np.float64)
        num_frames = len(poses)
        extrinsics = poses[:, :3].copy()
        extrinsics[:, :, 3] *= 1000.0
        for person, positions in enumerate(content["jointPositions"]):
            world_mm = 1000.0 * np.reshape(positions, (num_frames, _NUM_SMPL_JOINTS, 3))
            # Stored as coordinate by joint.
            found = np.reshape(
                content["poses2d"][person], (num_frames, 3, _NUM_OPENPOSE_JOINTS)
            ).transpose(0, 2, 1)
            yield _Person(
                split=split,
                sequence=path.stem,
                person=person,
                K=np.reshape(content["cam_intrinsics"], (3, 3)).astype(np.float64),
                extrinsics=extrinsics,
                joints_mm=world_mm @ extrinsics[:, :, :3].transpose(0, 2, 1)
                + extrinsics[:, None, :, 3],
                openpose=found.astype(np.float32),
                posed=np.reshape(content["campose_valid"][person], (num_frames,)) > 0,
            )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise DatasetError(f"{path} is no sequence of 3DPW: {error!r}.") from error
