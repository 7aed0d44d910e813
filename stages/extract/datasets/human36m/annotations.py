"""mmpose's Human3.6M annotations: the row tables, and what picture names say."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import DatasetError
from stages.extract.datasets.human36m.names import Take, plain_name, takes_by_name
from stages.extract.datasets.pickles import load_array, load_arrays

Table = dict[str, NDArray[Any]]
IMPORTED = "imported/"
"""Prefix of the columns of a table that are detections."""

_KEYS = ("imgname", "center", "scale", "part", "S")
_CLIP = re.compile(
    r"(?P<subject>S\d+)_(?P<action>[A-Za-z]+)(?:[_ ](?P<subaction>\d+))?\.(?P<camera>\w+)$"
)
_FRAME = re.compile(r"_(\d+)\.\w+$")
_TAKES = takes_by_name()


class PictureName(NamedTuple):
    """What `S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg` says."""

    subject: str
    action: str
    number: str
    """As in the name, "0" without one. It is not the metadata's subaction."""
    camera: str
    frame: int

    @property
    def clip(self) -> str:
        """The same for all frames of a sequence and camera."""
        return "\0".join(self[:4])

    @property
    def take(self) -> Take | None:
        """The sequence by the metadata's numbers; None if Human3.6M has none of this name."""
        base_name = self.action if self.number == "0" else f"{self.action} {self.number}"
        return _TAKES.get((self.subject, plain_name(base_name)))


def parse_name(name: str) -> PictureName:
    """Return what a picture's name says; raises DatasetError if it is of another form."""
    folder = name.split("/")[-2] if "/" in name else ""
    clip, frame = _CLIP.match(folder), _FRAME.search(name)
    if clip is None or frame is None:
        raise DatasetError(
            f"Picture name {name!r} is not like "
            "S1/S1_Walking_1.54138969/S1_Walking_1.54138969_000001.jpg."
        )
    return PictureName(
        clip["subject"], clip["action"], clip["subaction"] or "0", clip["camera"], int(frame[1])
    )


def read_annotations(path: Path, detections: Mapping[str, Path]) -> Table:
    """Return the columns of an annotation file and of the detections for its rows.

    Args:
        path: an npz of mmpose.
        detections: npy files `[N, 17, 3]` (x, y px, score) with the same rows, by name.

    Raises:
        DatasetError: a file does not fit, or its rows are not as many as there are pictures.
    """
    table = load_arrays(path, _KEYS)
    num_rows = len(table["imgname"])
    lengths = {key: len(values) for key, values in table.items()}
    if set(lengths.values()) != {num_rows}:
        raise DatasetError(
            f"{path}: labels and pictures are not as many: {lengths}. mmpose's script writes this "
            "where a video cannot be read, as that of S11_Directions.54138969; write it anew "
            "without that sequence."
        )
    for name, file in detections.items():
        table[IMPORTED + name] = _read_detections(file, num_rows)
    return table


def join_tables(tables: Sequence[Table]) -> Table:
    """Return one table with the rows of all, in order."""
    return {key: np.concatenate([table[key] for table in tables]) for key in tables[0]}


def _read_detections(path: Path, num_rows: int) -> NDArray[np.float32]:
    points = load_array(path)
    if points.shape != (num_rows, 17, 3):
        raise DatasetError(
            f"{path} must have a row of 17 x, y and score for each of the {num_rows} labels, "
            f"it has shape {points.shape}."
        )
    points = points.astype(np.float32)
    points[~np.isfinite(points).all(axis=-1)] = 0
    return np.asarray(points)
