"""MPI-INF-3DHP as mmpose prepares it.

    <root>/annotations/mpi_inf_3dhp_train.npz
    <root>/annotations/mpi_inf_3dhp_test_valid.npz
    <root>/annotations/cameras_train.pkl
    <root>/annotations/cameras_test.pkl
    <root>/images/S1_Seq1_Cam0_000001.jpg
    <root>/images/TS1_000001.jpg

Labels are annot3 in metres of the camera's frame. Unlike mmpose's Human3.6M, cameras map world to
camera, `X_cam = R X_world + T` in metres; those of the test set are fitted and have no R and T.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cache.cameras import Camera
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.mpi_inf_3dhp.facts import SEQUENCES, clip_name, intrinsics_only
from stages.extract.datasets.mpi_inf_3dhp.rows import Clip, Joints, Selection, dataset_rows
from stages.extract.datasets.pickles import load_arrays, load_pickle

_NAME = re.compile(
    r"(?P<subject>T?S\d)(?:_(?P<sequence>Seq\d)_Cam(?P<camera>\d+))?_(?P<frame>\d+)\.\w+$"
)
_KEYS = ("imgname", "center", "scale", "part", "S")
_BOX_SIDE_PX = 200.0  # the annotations' `scale` counts box sides in units of 200 px
_NOTE = (
    "The test set's cameras are pinholes fitted to its labels, TS5 and TS6 without their "
    "distortion: labels project with errors of about 0.3 px, 2 px at most, on TS1 and TS2."
)


class MpiInf3dhpMmpose(FiledDataset):
    """Rows of mmpose's annotations: subjects, sequences and cameras in order, then frames."""

    adapter = "mpi-inf-3dhp-mmpose"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "mpi-inf-3dhp-mmpose",
        skeleton: Joints = "MPI17",
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the annotations' folder.

        Args:
            root: folder of `annotations/` and `images/`.
            name: under which stores and tables list it.
            skeleton: `MPI17`, or `H36M17`: the same joints in Human3.6M's order, so that joints of
                COCO detectors can be converted to it.
            validation_subjects: training subjects that become the split `validation`.
            subjects: keep only these, `S1` to `S8` and `TS1` to `TS6`.
            stride: keep every `stride`-th labelled frame of each clip.
            limit: keep at most this many rows of each split, evenly spaced.

        Raises:
            DatasetError: annotations are missing, or an option is out of range.
        """
        folder = Path(root) / "annotations"
        self._parts = (
            (folder / "mpi_inf_3dhp_train.npz", folder / "cameras_train.pkl"),
            (folder / "mpi_inf_3dhp_test_valid.npz", folder / "cameras_test.pkl"),
        )
        self._skeleton: Joints = skeleton
        self._selection = Selection.of(validation_subjects, subjects, stride, limit)
        super().__init__(
            root,
            name=name,
            annotations=[path for part in self._parts for path in part],
            options={"skeleton": skeleton, **self._selection.options()},
            pictures_root=Path(root) / "images",
        )

    def _read(self) -> DatasetRows:
        clips: list[Clip] = []
        cameras: dict[str, Camera] = {}
        for label_file, camera_file in self._parts:
            known = load_pickle(camera_file)
            for clip, key in _clips(label_file):
                if not self._selection.has(clip.subject):
                    continue
                if key not in known:
                    raise DatasetError(f"{camera_file} lacks the camera {key!r}.")
                clips.append(clip)
                cameras[clip.name] = _camera(camera_file, clip, known[key])
        has_test = any(clip.subject.startswith("TS") for clip in clips)
        return dataset_rows(
            clips,
            self._selection,
            skeleton=self._skeleton,
            cameras=cameras,
            source=str(self._root),
            notes=(_NOTE,) if has_test else (),
        )


def _clips(path: Path) -> Iterator[tuple[Clip, str]]:
    """Yield clips in the order of their names, with the key of their camera."""
    table = load_arrays(path, _KEYS)
    lengths = {key: len(values) for key, values in table.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"{path}: labels and pictures are not as many: {lengths}.")
    names = [str(name) for name in table["imgname"]]
    keys, clip_of_row = np.unique([name.rpartition("_")[0] for name in names], return_inverse=True)
    parsed = [_parse(path, name) for name in names]
    frames = np.array([int(match["frame"]) for match in parsed], dtype=np.int32)
    half_side = np.reshape(table["scale"], (-1, 1)) * _BOX_SIDE_PX / 2
    boxes = np.concatenate([table["center"] - half_side, table["center"] + half_side], axis=1)
    # An empty box is a bad row, one that is no number would refuse the whole file.
    boxes = np.nan_to_num(boxes, posinf=0, neginf=0)
    for number, key in enumerate(keys):
        rows = np.flatnonzero(clip_of_row == number)
        rows = rows[np.argsort(frames[rows], kind="stable")]
        match = parsed[rows[0]]
        subject, sequence = match["subject"], match["sequence"]
        # The third column of `part` and fourth of `S` say whether 2048 x 2048 px contain the
        # joint, whatever the picture's size; the labels hold outside too.
        clip = Clip(
            name=clip_name(subject, sequence, int(match["camera"])) if sequence else subject,
            subject=subject,
            frames=frames[rows],
            joints_2d_px=table["part"][rows, :, :2].astype(np.float32),
            joints_3d_mm=(table["S"][rows, :, :3] * 1000.0).astype(np.float32),
            pictures=[names[row] for row in rows.tolist()],
            actions=sequence or subject,
            boxes_px=boxes[rows].astype(np.float32),
        )
        yield clip, str(key)


def _parse(path: Path, name: str) -> re.Match[str]:
    match = _NAME.match(name)
    if match is None or (match["sequence"] is None) != name.startswith("TS"):
        raise DatasetError(
            f"{path} names a picture {name!r}, not like S1_Seq1_Cam0_000001.jpg or TS1_000001.jpg."
        )
    return match


def _camera(path: Path, clip: Clip, entry: dict[str, Any]) -> Camera:
    # `w` and `h` stay unread: the published converter cut the last digit off the height.
    try:
        focal, centre = np.ravel(entry["f"]).tolist(), np.ravel(entry["c"]).tolist()
        if clip.subject.startswith("TS"):
            return intrinsics_only(clip.name, *focal, *centre)
        return Camera(
            name=clip.name,
            K=np.array([[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]]),
            R=np.asarray(entry["R"], dtype=np.float64),
            t_mm=np.ravel(entry["T"]).astype(np.float64) * 1000.0,
            fps=SEQUENCES[clip.subject, str(clip.actions)][1],
        )
    except KeyError as error:
        raise DatasetError(f"{path}: the camera of {clip.name} lacks {error}.") from error
