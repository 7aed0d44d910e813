"""Human3.6M, or anything else in the layout of mmpose's `Human36mDataset`.

    <root>/annotation_body3d/cameras.pkl
    <root>/annotation_body3d/fps<fps>/h36m_train.npz    and, where there is one, h36m_test.npz
    <root>/images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg

Labels there are metres in the camera frame; cameras map camera to world (`X_world = R X_cam + T`).
Both become the cache's millimetres and world-to-camera rotation.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.cameras import Camera
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.pickles import load_pickle
from stages.extract.datasets.pictures import picture_size, read_picture

SPLITS = ("train", "validation", "test")
_CLIP = re.compile(
    r"(?P<subject>S\d+)_(?P<action>[A-Za-z]+)(?:[_ ](?P<subaction>\d+))?\.(?P<camera>\w+)$"
)
_FRAME = re.compile(r"_(\d+)\.\w+$")
_NUM_HASHED_PICTURES = 64
_BOX_SIDE_PX = 200.0  # the annotations' `scale` counts box sides in units of 200 px


class Human36m:
    """Rows of mmpose's Human3.6M annotations: clips in name order, frames in order."""

    cpu_bound = False

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
        self.name = name
        self._root = Path(root)
        self._fps = fps
        self._validation_subjects = tuple(validation_subjects)
        self._subjects = None if subjects is None else tuple(subjects)
        self._stride = stride
        self._limit = limit
        if stride < 1 or (limit is not None and limit < 1):
            raise DatasetError(f"stride and limit must be at least 1, got {stride} and {limit}.")
        self._folder = self._root / "annotation_body3d"
        if not (self._annotations / "h36m_train.npz").is_file():
            raise DatasetError(
                f"{self._root} has no annotation_body3d/fps{fps}/h36m_train.npz. Set "
                "dataset.root to a folder in the "
                "layout of mmpose's Human36mDataset."
            )

    @property
    def _annotations(self) -> Path:
        return self._folder / f"fps{self._fps}"

    def plan(self) -> RowPlan:
        """Return the row table; picture sizes are (0, 0) where a picture is missing."""
        return self._plan

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of `row`, uint8 [H, W, 3] RGB; raises FrameError if it is unusable."""
        return read_picture(self._picture(row))

    def content_identity(self) -> dict[str, Any]:
        """Return adapter, options, annotation hashes and the hash of evenly spaced pictures."""
        files = [path for path in self._files() if path.is_file()]
        rows = np.unique(
            np.linspace(0, len(self._names) - 1, _NUM_HASHED_PICTURES).round().astype(int)
        )
        pictures = hashlib.sha256()
        for row in rows:
            path = self._picture(int(row))
            pictures.update(path.read_bytes() if path.is_file() else b"missing")
        return {
            "adapter": "human36m",
            "fps": self._fps,
            "validation_subjects": sorted(self._validation_subjects),
            "subjects": None if self._subjects is None else sorted(self._subjects),
            "stride": self._stride,
            "limit": self._limit,
            "annotations": {
                path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files
            },
            "rows": hashlib.sha256("\n".join(self._names).encode()).hexdigest(),
            "pictures": pictures.hexdigest(),
        }

    def __getstate__(self) -> dict[str, Any]:
        # The tables are large; a worker process needs only the names.
        state = {
            key: value for key, value in self.__dict__.items() if key not in ("_plan", "_table")
        }
        return {**state, "_names": self._names}

    def _files(self) -> list[Path]:
        return [
            self._annotations / "h36m_train.npz",
            self._annotations / "h36m_test.npz",
            self._folder / "cameras.pkl",
        ]

    def _picture(self, row: int) -> Path:
        return self._root / "images" / self._names[row]

    @cached_property
    def _names(self) -> list[str]:
        return [str(name) for name in self._table["imgname"]]

    @cached_property
    def _table(self) -> dict[str, NDArray[Any]]:
        parts = [_read_annotations(path) for path in self._files()[:2] if path.is_file()]
        split = np.concatenate(
            [np.full(len(part["imgname"]), 2 * i) for i, part in enumerate(parts)]
        )
        table = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        clips = [_parse_clip(str(name)) for name in table["imgname"]]
        subjects = np.array([clip[0] for clip in clips])
        split[(split == 0) & np.isin(subjects, self._validation_subjects)] = 1
        table |= {"split": split, "clip": np.array(["\0".join(clip[:4]) for clip in clips])}
        table["frame"] = np.array([clip[4] for clip in clips])
        order = np.lexsort((table["frame"], table["clip"], split))
        if self._subjects is not None:
            order = order[np.isin(subjects[order], self._subjects)]
        order = _thin(order, table["clip"], self._stride)
        if self._limit is not None:
            order = _limit_each(order, split, self._limit)
        if not len(order):
            raise DatasetError(f"{self._root}: subjects {self._subjects} leave no labelled frame.")
        return {key: value[order] for key, value in table.items()}

    @cached_property
    def _plan(self) -> RowPlan:
        table = self._table
        parts = [str(clip).split("\0") for clip in table["clip"]]
        keys = [(part[0], part[3]) for part in parts]
        known = load_pickle(self._folder / "cameras.pkl")
        camera_keys = sorted(set(keys))
        missing = [key for key in camera_keys if key not in known]
        if missing:
            raise DatasetError(f"{self._folder / 'cameras.pkl'} lacks the cameras {missing[:4]}.")
        cameras = tuple(_camera(key, known[key], float(self._fps)) for key in camera_keys)
        positions = {key: i for i, key in enumerate(camera_keys)}
        sizes = [picture_size(self._root / "images" / name) for name in self._names]
        keypoints, joints = table["part"], table["S"]
        half_side = table["scale"][:, None] * _BOX_SIDE_PX / 2
        return RowPlan(
            skeleton="H36M17",
            joints_2d_px=keypoints[..., :2].astype(np.float32),
            joints_3d_mm=(joints[..., :3] * 1000.0).astype(np.float32),
            valid=(keypoints[..., 2] > 0) & (joints[..., 3] > 0),
            visible=None,
            index={
                "split": IndexColumn(table["split"].astype(np.int32), SPLITS),
                "subject": _column([part[0] for part in parts]),
                "action": _column([part[1] for part in parts]),
                "subaction": _column([part[2] for part in parts]),
                "camera": IndexColumn(
                    np.array([positions[key] for key in keys], dtype=np.int32),
                    tuple(camera.name for camera in cameras),
                ),
                "person": _column(["0"] * len(parts)),
                "clip": _column([name.rsplit("/", 1)[0] for name in self._names]),
                "frame": IndexColumn(table["frame"].astype(np.int32)),
                "item": _column(self._names),
            },
            image_size=np.array(sizes, dtype=np.int32),
            cameras=cameras,
            boxes_px=np.concatenate(
                [table["center"] - half_side, table["center"] + half_side], axis=1
            ).astype(np.float32),
        )


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


def _thin(order: NDArray[np.intp], clips: NDArray[Any], stride: int) -> NDArray[np.intp]:
    if stride == 1:
        return order
    names = clips[order]
    starts = np.flatnonzero(np.concatenate([[True], names[1:] != names[:-1]]))
    position = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    kept: NDArray[np.intp] = order[position % stride == 0]
    return kept


def _limit_each(order: NDArray[np.intp], split: NDArray[Any], limit: int) -> NDArray[np.intp]:
    kept = []
    for code in np.unique(split):
        rows = order[split[order] == code]
        if len(rows):
            kept.append(
                rows[np.unique(np.linspace(0, len(rows) - 1, min(limit, len(rows))).astype(int))]
            )
    return np.concatenate(kept)


def _column(words: list[str]) -> IndexColumn:
    return IndexColumn.from_words(words)


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
