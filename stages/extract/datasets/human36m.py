"""Human3.6M, or anything else in the layout of mmpose's `Human36mDataset`.

    <root>/annotation_body3d/cameras.pkl
    <root>/annotation_body3d/fps<fps>/h36m_train.npz    and, where there is one, h36m_test.npz
    <root>/images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg

Labels there are metres in the camera frame; cameras map camera to world (`X_world = R X_cam + T`).
Both become the cache's millimetres and world-to-camera rotation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset, PictureFiles, picture_sizes
from stages.extract.datasets.pickles import load_pickle
from stages.extract.datasets.rows import choose_rows, hold_out

SPLITS = ("train", "validation", "test")
_CLIP = re.compile(
    r"(?P<subject>S\d+)_(?P<action>[A-Za-z]+)(?:[_ ](?P<subaction>\d+))?\.(?P<camera>\w+)$"
)
_FRAME = re.compile(r"_(\d+)\.\w+$")
_BOX_SIDE_PX = 200.0  # the annotations' `scale` counts box sides in units of 200 px


class Human36m(FiledDataset):
    """Rows of mmpose's Human3.6M annotations: clips in name order, frames in order."""

    adapter = "human36m"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "human36m",
        fps: int = 10,
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the annotations' folder.

        Args:
            root: folder of `annotation_body3d/` and `images/`.
            name: name of the data set, where it is another one in this layout.
            fps: annotation rate; picks the folder `fps<fps>`.
            validation_subjects: subjects of the train file that become the split `validation`.
            subjects: keep only these.
            stride: keep every `stride`-th labelled frame of each clip.
            limit: keep at most this many rows of each split, evenly spaced.

        Raises:
            DatasetError: no annotations there, or options that leave no row.
        """
        folder = Path(root) / "annotation_body3d"
        self._camera_file = folder / "cameras.pkl"
        self._label_files = [folder / f"fps{fps}" / "h36m_train.npz"]
        test = folder / f"fps{fps}" / "h36m_test.npz"
        self._label_files += [test] if test.is_file() else []
        self._fps = fps
        self._validation_subjects = tuple(validation_subjects)
        self._subjects = None if subjects is None else tuple(subjects)
        self._stride, self._limit = stride, limit
        super().__init__(
            root,
            name=name,
            annotations=[*self._label_files, self._camera_file],
            options={
                "fps": fps,
                "validation_subjects": sorted(self._validation_subjects),
                "subjects": None if self._subjects is None else sorted(self._subjects),
                "stride": stride,
                "limit": limit,
            },
            pictures_root=Path(root) / "images",
        )

    def _read(self) -> DatasetRows:
        table = self._table()
        names = [str(name) for name in table["imgname"]]
        parts = [str(clip).split("\0") for clip in table["clip"]]
        keys = [(part[0], part[3]) for part in parts]
        known = load_pickle(self._camera_file)
        camera_keys = sorted(set(keys))
        missing = [key for key in camera_keys if key not in known]
        if missing:
            raise DatasetError(f"{self._camera_file} lacks the cameras {missing[:4]}.")
        cameras = tuple(_camera(key, known[key], float(self._fps)) for key in camera_keys)
        positions = {key: i for i, key in enumerate(camera_keys)}
        keypoints, joints = table["part"], table["S"]
        half_side = table["scale"][:, None] * _BOX_SIDE_PX / 2
        pictures = PictureFiles.from_paths(names)
        plan = RowPlan(
            skeleton="H36M17",
            joints_2d_px=keypoints[..., :2].astype(np.float32),
            joints_3d_mm=(joints[..., :3] * 1000.0).astype(np.float32),
            valid=(keypoints[..., 2] > 0) & (joints[..., 3] > 0),
            visible=None,
            index={
                "split": IndexColumn(table["split"].astype(np.int32), SPLITS),
                "subject": IndexColumn.from_words([part[0] for part in parts]),
                "action": IndexColumn.from_words([part[1] for part in parts]),
                "subaction": IndexColumn.from_words([part[2] for part in parts]),
                "camera": IndexColumn(
                    np.array([positions[key] for key in keys], dtype=np.int32),
                    tuple(camera.name for camera in cameras),
                ),
                "person": IndexColumn.from_words(["0"] * len(parts)),
                "clip": IndexColumn.from_words([name.rsplit("/", 1)[0] for name in names]),
                "frame": IndexColumn(table["frame"].astype(np.int32)),
                "item": IndexColumn.from_words(names),
            },
            image_size=picture_sizes(self._pictures_root, pictures),
            cameras=cameras,
            boxes_px=np.concatenate(
                [table["center"] - half_side, table["center"] + half_side], axis=1
            ).astype(np.float32),
        )
        return DatasetRows(plan, pictures)

    def _table(self) -> dict[str, NDArray[Any]]:
        parts = [_read_annotations(path) for path in self._label_files]
        split = np.concatenate(
            [np.full(len(part["imgname"]), 2 * i) for i, part in enumerate(parts)]
        )
        table = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        clips = [_parse_clip(str(name)) for name in table["imgname"]]
        subjects = np.array([clip[0] for clip in clips])
        table["split"] = hold_out([*subjects], split, self._validation_subjects)
        table["clip"] = np.array(["\0".join(clip[:4]) for clip in clips])
        table["frame"] = np.array([clip[4] for clip in clips])
        order = choose_rows(
            table["split"],
            table["clip"],
            table["frame"],
            stride=self._stride,
            limit=self._limit,
            keep=None if self._subjects is None else np.isin(subjects, self._subjects),
        )
        if not len(order):
            raise DatasetError(f"{self._root}: subjects {self._subjects} leave no labelled frame.")
        return {key: value[order] for key, value in table.items()}


def _read_annotations(path: Path) -> dict[str, NDArray[Any]]:
    keys = ("imgname", "center", "scale", "part", "S")
    try:
        with np.load(path, allow_pickle=False) as archive:
            return {key: archive[key] for key in keys}
    except (KeyError, ValueError, OSError) as error:
        raise DatasetError(
            f"{path} does not hold mmpose's Human3.6M annotations: {error}."
        ) from error


def _parse_clip(name: str) -> tuple[str, str, str, str, int]:
    folder = name.split("/")[-2] if "/" in name else ""
    clip, frame = _CLIP.match(folder), _FRAME.search(name)
    if clip is None or frame is None:
        raise DatasetError(
            f"Picture name {name!r} is not like "
            "S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg."
        )
    return clip["subject"], clip["action"], clip["subaction"] or "0", clip["camera"], int(frame[1])


def _camera(key: tuple[str, str], entry: dict[str, Any], fps: float) -> Camera:
    focal, centre = np.ravel(entry["f"]), np.ravel(entry["c"])
    # Detector-only sets may come without distortion.
    k = np.ravel(entry.get("k", np.zeros(3)))
    p = np.ravel(entry.get("p", np.zeros(2)))
    rotation = np.asarray(entry["R"], dtype=np.float64).T
    position_mm = np.ravel(entry["T"]).astype(np.float64) * 1000.0
    return Camera(
        name=f"{key[0]}.{key[1]}",
        K=np.array(
            [[focal[0], 0, centre[0]], [0, focal[1], centre[1]], [0, 0, 1]], dtype=np.float64
        ),
        R=rotation,
        t_mm=-rotation @ position_mm,
        distortion=(float(k[0]), float(k[1]), float(p[0]), float(p[1]), float(k[2])),
        distortion_model="human36m",
        fps=fps,
    )
