"""What all datasets on disk have in common: pictures by row, identity, and what workers get."""

from __future__ import annotations

import hashlib
import sys
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from cache.imported import ImportedKeypoints
from cache.plan import RowPlan
from stages.extract.datasets.base import BoxOrigin, DatasetError
from stages.extract.datasets.picture_files import (
    NO_VIDEO,
    PictureFiles,
    hash_pictures,
    picture_sizes,
)
from stages.extract.datasets.pictures import read_picture
from stages.extract.datasets.videos import VideoPictures

_TABLES = ("_rows", "_plan")


@dataclass(frozen=True, eq=False)
class DatasetRows:
    """What an adapter reads from its annotations.

    Args:
        plan: the row table with labels; where all picture sizes are (0, 0), they are read from the
            pictures when the plan is asked for.
        pictures: where the rows' pictures are.
        imported: 2D keypoints that come with the data, by name (without `imported:`).
        notes: approximations in the labels that every result must name, one sentence each.
    """

    plan: RowPlan
    pictures: PictureFiles
    imported: Mapping[str, ImportedKeypoints] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class FiledDataset(ABC):
    """A dataset on disk. Instances are picklable; a copy knows its pictures, not its labels.

    A subclass sets `adapter` and returns its rows from `_read`, which runs once, when first needed.
    """

    cpu_bound = False
    adapter: ClassVar[str]
    """Names the reader in the content identity."""

    def __init__(
        self,
        root: str | Path,
        *,
        name: str,
        annotations: Iterable[Path],
        options: Mapping[str, Any],
        pictures_root: Path | None = None,
    ) -> None:
        """Note what decides the content.

        Args:
            root: folder of the dataset.
            name: under which stores and tables list it.
            annotations: files whose bytes are part of the content identity; all must exist.
            options: arguments that are part of the content identity, JSON values.
            pictures_root: folder that picture paths are relative to; None for `root`.

        Raises:
            DatasetError: annotation files are missing; all of them are named.
        """
        self.name = name
        self._root = Path(root)
        self._pictures_root = pictures_root or self._root
        self._annotations = tuple(annotations)
        self._options = dict(options)
        self._videos = VideoPictures()
        missing = [path for path in self._annotations if not path.is_file()]
        if missing:
            listed = "".join(f"\n  {path}" for path in missing)
            raise DatasetError(
                f"{self._root} is not complete as {self.adapter}; "
                f"{len(missing)} files are missing:{listed}\n{self.layout_hint()}"
            )

    @abstractmethod
    def _read(self) -> DatasetRows:
        """Read the annotations; raises DatasetError."""

    @classmethod
    def layout_hint(cls) -> str:
        """Which folder is wanted, for errors: the tree in the module's description."""
        lines = (sys.modules[cls.__module__].__doc__ or "").splitlines()
        tree = "\n".join(line for line in lines if line.startswith("    "))
        return f"Set dataset.root to a folder like this:\n{tree}"

    @cached_property
    def _rows(self) -> DatasetRows:
        return self._read()

    @cached_property
    def _pictures(self) -> PictureFiles:
        return self._rows.pictures

    @property
    def box_origin(self) -> BoxOrigin | None:
        """Who found the boxes that come with the data; unknown, unless a subclass knows."""
        return None

    def plan(self) -> RowPlan:
        """Return the row table; picture sizes are (0, 0) where a picture is missing."""
        return self._plan

    @cached_property
    def _plan(self) -> RowPlan:
        rows = self._rows
        if rows.plan.image_size.any():
            return rows.plan
        # Not in `_read`: whether a store is up to date can be said without opening every picture.
        return replace(rows.plan, image_size=picture_sizes(self._pictures_root, rows.pictures))

    def imported_keypoints(self) -> Mapping[str, ImportedKeypoints]:
        """Return 2D keypoints that come with the data, by name."""
        return self._rows.imported

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of `row`, uint8 [H, W, 3] RGB; raises FrameError if it is unusable."""
        return self.load_picture(*self._pictures.of(row))

    def load_picture(self, name: str, frame: int) -> NDArray[np.uint8]:
        """Return the picture of a `picture_key`, or any other frame of that video, as above."""
        path = self._pictures_root / name
        return read_picture(path) if frame == NO_VIDEO else self._videos.read(path, frame)

    def picture_key(self, row: int) -> tuple[str, int]:
        """Return what is equal for rows that show the same picture: persons of one frame."""
        return self._pictures.of(row)

    def content_identity(self) -> dict[str, Any]:
        """Return adapter, options, annotation hashes and the hash of evenly spaced pictures."""
        rows = self._rows
        items = rows.plan.index["item"].words()
        identity = {
            "adapter": self.adapter,
            **self._options,
            "annotations": self._hash_annotations(),
            "rows": hashlib.sha256("\n".join(items).encode()).hexdigest(),
            "pictures": hash_pictures(self._pictures_root, self._pictures),
        }
        if rows.imported:
            identity["imported"] = {
                name: keypoints.identity() for name, keypoints in sorted(rows.imported.items())
            }
        return {**identity, "notes": list(rows.notes)} if rows.notes else identity

    def __getstate__(self) -> dict[str, Any]:
        # The tables are large; a worker process needs only the pictures' names.
        state = {key: value for key, value in self.__dict__.items() if key not in _TABLES}
        return {**state, "_pictures": self._pictures}

    def _hash_annotations(self) -> dict[str, str]:
        times_used = Counter(path.name for path in self._annotations)
        return {
            path.name
            if times_used[path.name] == 1
            else path.relative_to(self._root).as_posix(): hash_file(path)
            for path in self._annotations
        }


def hash_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
