"""Human3.6M, or anything else in the layout of mmpose's `Human36mDataset`.

    <root>/annotation_body3d/cameras.pkl
    <root>/annotation_body3d/fps<fps>/h36m_train.npz    and, where there is one, h36m_test.npz
    <root>/images/S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg

Labels there are metres in the camera frame; cameras map camera to world (`X_world = R X_cam + T`).
Both become the cache's millimetres and world-to-camera rotation. Picture sizes are read from the
pictures: some have 1002 rows where `cameras.pkl` says 1000.

Names are Human3.6M's base names. The column `subaction` has the number in the name ("0" without
one), which is not the metadata's subaction: `protocol` and `s11_directions` look that up.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from cache.imported import ImportedKeypoints
from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.human36m.annotations import (
    IMPORTED,
    PictureName,
    Table,
    join_tables,
    parse_name,
    read_annotations,
)
from stages.extract.datasets.human36m.cameras import load_cameras
from stages.extract.datasets.human36m.clips import finite
from stages.extract.datasets.human36m.names import SPLITS
from stages.extract.datasets.human36m.protocol import Selection
from stages.extract.datasets.picture_files import PictureFiles
from stages.extract.datasets.rows import choose_rows, hold_out
from stages.extract.imports.order import refuse_misplaced

_BOX_SIDE_PX = 200.0  # the annotations' `scale` counts box sides in units of 200 px
_NEW_OPTIONS = {"protocol": "keep", "s11_directions": "keep"}
_SPLIT_FIELD = "{split}"


class Human36m(FiledDataset):
    """Rows of mmpose's Human3.6M annotations: clips in name order, frames in order."""

    adapter = "human36m"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "human36m",
        fps: int = 10,
        detections: Mapping[str, str] | None = None,
        validation_subjects: Sequence[str] = ("S8",),
        subjects: Sequence[str] | None = None,
        stride: int = 1,
        limit: int | None = None,
        protocol: str = "keep",
        s11_directions: str = "keep",
    ) -> None:
        """Open the annotations' folder.

        Args:
            root: folder of `annotation_body3d/` and `images/`.
            name: name of the data set, where it is another one in this layout.
            fps: annotation rate; picks the folder `fps<fps>`.
            detections: 2D keypoints to import, name -> npy file below the root with a row for each
                of the annotations', where `{split}` stands for train and test:
                `cpn: joint_2d_det_files/cpn_ft_h36m_dbb_{split}.npy`.
            validation_subjects: subjects of the train file that become the split `validation`.
            subjects: keep only these.
            stride: keep every `stride`-th labelled frame of each clip.
            limit: keep at most this many rows of each split, evenly spaced.
            protocol: `keep` or `drop-damaged`, see `protocol.py`.
            s11_directions: `keep` or `drop`, see `protocol.py`.

        Raises:
            DatasetError: no annotations there, or options that leave no row.
        """
        folder = Path(root) / "annotation_body3d"
        self._camera_file = folder / "cameras.pkl"
        splits = [s for s in ("train", "test") if s == "train" or _labels(folder, fps, s).is_file()]
        self._label_files = {split: _labels(folder, fps, split) for split in splits}
        named = sorted((detections or {}).items())
        self._detection_files = {
            split: {key: _detections(Path(root), file, split, splits) for key, file in named}
            for split in splits
        }
        self._fps = fps
        self._selection = Selection.of(
            subjects=subjects,
            validation_subjects=validation_subjects,
            stride=stride,
            limit=limit,
            protocol=protocol,
            s11_directions=s11_directions,
        )
        options = self._selection.identity()
        for option, default in _NEW_OPTIONS.items():
            if options[option] == default:  # stores made before there was a choice stay the same
                del options[option]
        files = [file for by_name in self._detection_files.values() for file in by_name.values()]
        super().__init__(
            root,
            name=name,
            annotations=[*self._label_files.values(), self._camera_file, *files],
            options={"fps": fps, **options},
            pictures_root=Path(root) / "images",
        )

    def _read(self) -> DatasetRows:
        table, parts = self._table()
        names = [str(name) for name in table["imgname"]]
        keys = [(part.subject, part.camera) for part in parts]
        known = load_cameras(self._camera_file, fps=float(self._fps))
        camera_keys = sorted(set(keys))
        missing = [key for key in camera_keys if key not in known]
        if missing:
            raise DatasetError(f"{self._camera_file} lacks the cameras {missing[:4]}.")
        cameras = tuple(known[key] for key in camera_keys)
        positions = {key: i for i, key in enumerate(camera_keys)}
        keypoints, joints = table["part"], table["S"]
        joints_2d_px = keypoints[..., :2].astype(np.float32)
        joints_3d_mm = (joints[..., :3] * 1000.0).astype(np.float32)
        there = finite(joints_2d_px, joints_3d_mm)
        half_side = table["scale"][:, None] * _BOX_SIDE_PX / 2
        plan = RowPlan(
            skeleton="H36M17",
            joints_2d_px=joints_2d_px,
            joints_3d_mm=joints_3d_mm,
            valid=there & (keypoints[..., 2] > 0) & (joints[..., 3] > 0),
            visible=None,
            index={
                "split": IndexColumn(table["split"].astype(np.int32), SPLITS),
                "subject": IndexColumn.from_words([part.subject for part in parts]),
                "action": IndexColumn.from_words([part.action for part in parts]),
                "subaction": IndexColumn.from_words([part.number for part in parts]),
                "camera": IndexColumn(
                    np.array([positions[key] for key in keys], dtype=np.int32),
                    tuple(camera.name for camera in cameras),
                ),
                "person": IndexColumn.from_words(["0"] * len(parts)),
                "clip": IndexColumn.from_words([name.rsplit("/", 1)[0] for name in names]),
                "frame": IndexColumn(np.array([part.frame for part in parts], dtype=np.int32)),
                "item": IndexColumn.from_words(names),
            },
            image_size=np.zeros((len(names), 2), dtype=np.int32),
            cameras=cameras,
            # An empty box is a bad row, one that is no number would refuse the whole file.
            boxes_px=np.nan_to_num(
                np.concatenate([table["center"] - half_side, table["center"] + half_side], axis=1),
                posinf=0,
                neginf=0,
            ).astype(np.float32),
        )
        imported = {
            key.removeprefix(IMPORTED): ImportedKeypoints("H36M17", points)
            for key, points in table.items()
            if key.startswith(IMPORTED)
        }
        for key, found in imported.items():
            refuse_misplaced(plan, found.points, found.skeleton, Path(f"2D detections {key!r}"))
        return DatasetRows(plan, PictureFiles.from_paths(names), imported)

    def _table(self) -> tuple[Table, list[PictureName]]:
        """Return the chosen rows in order, and what their pictures' names say."""
        tables = {
            split: read_annotations(path, self._detection_files[split])
            for split, path in self._label_files.items()
        }
        table = join_tables(list(tables.values()))
        parts = [parse_name(str(name)) for name in table["imgname"]]
        codes = [SPLITS.index(split) for split in tables]
        table["split"] = hold_out(
            [part.subject for part in parts],
            np.repeat(codes, [len(part["imgname"]) for part in tables.values()]),
            self._selection.validation_subjects,
        )
        order = choose_rows(
            table["split"],
            np.array([part.clip for part in parts]),
            np.array([part.frame for part in parts]),
            stride=self._selection.stride,
            limit=self._selection.limit,
            keep=np.array([self._keeps(part) for part in parts]),
        )
        if not len(order):
            raise DatasetError(
                f"{self._root}: subjects {self._selection.subjects} leave no labelled frame."
            )
        return {key: values[order] for key, values in table.items()}, [parts[i] for i in order]

    def _keeps(self, part: PictureName) -> bool:
        take = part.take
        if take is None:  # another data set in this layout
            return self._selection.keeps_subject(part.subject)
        return self._selection.keeps(take)


def _labels(folder: Path, fps: int, split: str) -> Path:
    return folder / f"fps{fps}" / f"h36m_{split}.npz"


def _detections(root: Path, file: str, split: str, splits: Sequence[str]) -> Path:
    if _SPLIT_FIELD not in file and len(splits) > 1:
        raise DatasetError(
            f"dataset.options.detections: {file!r} is one file for the splits "
            f"{' and '.join(splits)}; put {_SPLIT_FIELD} where their names differ."
        )
    return root / file.replace(_SPLIT_FIELD, split)
