"""Persons with 2D keypoints in COCO's json, for training and testing 2D detectors.

    <root>/annotations/person_keypoints_train2017.json    and, or only, one of these
    <root>/annotations/person_keypoints_val2017.json
    <root>/train2017/000000000009.jpg
    <root>/val2017/000000000139.jpg

Every annotated person is a clip of one row. Crowds and persons without a labelled joint are left
out: nothing can be learnt or measured there. Boxes are those of the annotations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from cache.plan import IndexColumn, RowPlan
from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.coco_joints import JOINT_READERS
from stages.extract.datasets.filed import DatasetRows, FiledDataset
from stages.extract.datasets.picture_files import PictureFiles
from stages.extract.datasets.rows import choose_rows

SPLITS = ("train", "validation")
TRAIN = "annotations/person_keypoints_train2017.json"
VALIDATION = "annotations/person_keypoints_val2017.json"


class Coco(FiledDataset):
    """Rows of COCO-style annotations: pictures in the file's order, persons in theirs."""

    adapter = "coco"

    def __init__(
        self,
        root: str | Path,
        *,
        name: str = "coco",
        train: str | None = TRAIN,
        validation: str | None = VALIDATION,
        train_pictures: str = "train2017",
        validation_pictures: str = "val2017",
        skeleton: str = "COCO17",
        stride: int = 1,
        limit: int | None = None,
    ) -> None:
        """Open the annotations.

        Args:
            root: folder that the other paths are relative to.
            name: under which stores and tables list it.
            train: annotations of the split `train`; None for none.
            validation: annotations of the split `validation`; None for none.
            train_pictures: folder of the pictures that `train` names.
            validation_pictures: folder of the pictures that `validation` names.
            skeleton: joint set to read: COCO17, WHOLEBODY133 (COCO-WholeBody's files) or HALPE26.
            stride: keep every `stride`-th person.
            limit: keep at most this many persons of each split, evenly spaced.

        Raises:
            DatasetError: no such annotations, or another skeleton.
        """
        if skeleton not in JOINT_READERS:
            raise DatasetError(
                f"COCO json holds no {skeleton} joints here; "
                f"set skeleton to one of {', '.join(JOINT_READERS)}."
            )
        files = {"train": train, "validation": validation}
        self._files = {split: Path(root) / file for split, file in files.items() if file}
        self._folders = {"train": train_pictures, "validation": validation_pictures}
        self._skeleton, self._stride, self._limit = skeleton, stride, limit
        if not self._files:
            raise DatasetError("Dataset coco needs the option train or validation.")
        super().__init__(
            root,
            name=name,
            annotations=self._files.values(),
            options={
                "splits": sorted(self._files),
                "skeleton": skeleton,
                "stride": stride,
                "limit": limit,
            },
        )

    def _read(self) -> DatasetRows:
        persons = []
        for split, path in self._files.items():
            persons += _read_persons(path, split, self._folders[split])
        if not persons:
            raise DatasetError(f"{self._root}: the annotations hold no person with keypoints.")
        one_sequence = np.zeros(len(persons))  # so that `stride` counts persons, not frames
        order = choose_rows(
            [SPLITS.index(person["split"]) for person in persons],
            one_sequence,
            np.arange(len(persons)),
            stride=self._stride,
            limit=self._limit,
        )
        kept = [persons[i] for i in order]
        read_joints = JOINT_READERS[self._skeleton]
        joints = np.stack([read_joints(person) for person in kept])
        pictures = PictureFiles.from_paths([person["file"] for person in kept])
        items = [f"{person['file']}#{person['id']}" for person in kept]
        repeated = len(items) - len(set(items))
        if repeated:
            raise DatasetError(f"{self._root}: {repeated} annotations repeat another one's id.")
        constant = IndexColumn(np.zeros(len(kept), dtype=np.int32), ("0",))
        plan = RowPlan(
            skeleton=self._skeleton,
            joints_2d_px=joints[..., :2].astype(np.float32),
            joints_3d_mm=None,
            valid=joints[..., 2] > 0,
            visible=joints[..., 2] == 2,
            index={
                "split": IndexColumn(
                    np.array([SPLITS.index(person["split"]) for person in kept]), SPLITS
                ),
                "subject": constant,
                "action": constant,
                "subaction": constant,
                "camera": constant,
                "person": IndexColumn.from_words([str(person["id"]) for person in kept]),
                "clip": IndexColumn.from_words(items),
                "frame": IndexColumn(np.zeros(len(kept), dtype=np.int32)),
                "item": IndexColumn.from_words(items),
            },
            image_size=np.zeros((len(kept), 2), dtype=np.int32),
            boxes_px=np.array([person["box"] for person in kept], dtype=np.float32),
        )
        return DatasetRows(plan, pictures)


def _read_persons(path: Path, split: str, folder: str) -> list[dict[str, Any]]:
    """Return the usable annotations of a file, each with `split`, `file` and its `box`."""
    try:
        content = json.loads(path.read_bytes())
        images = {image["id"]: image for image in content["images"]}
        annotations = content["annotations"]
        positions = {image: i for i, image in enumerate(images)}
        usable = [
            annotation
            for annotation in annotations
            if not annotation.get("iscrowd") and any(annotation.get("keypoints", ())[2::3])
        ]
        usable.sort(key=lambda annotation: positions[annotation["image_id"]])
        return [
            {
                **annotation,
                "split": split,
                "file": f"{folder}/{images[annotation['image_id']]['file_name']}".lstrip("/"),
                "box": _corners(annotation["bbox"]),
            }
            for annotation in usable
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(
            f"{path} is not COCO's json of persons with keypoints: {type(error).__name__} {error}."
        ) from error


def _corners(box: list[float]) -> tuple[float, float, float, float]:
    left, top, width, height = box
    return left, top, left + width, top + height
