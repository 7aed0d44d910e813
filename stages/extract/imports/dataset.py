"""A dataset with further 2D keypoints, from files or stores that another detector wrote."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from cache.imported import ImportedKeypoints
from cache.skeletons import SKELETONS
from stages.extract.datasets.base import Dataset, DatasetError, OptionError
from stages.extract.datasets.wrapped import WrappedDataset
from stages.extract.imports.files import read_entries
from stages.extract.imports.matching import place, refuse_missing
from stages.extract.imports.order import refuse_misplaced
from stages.extract.imports.stores import KeypointStore, read_store

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


@dataclass(frozen=True)
class KeypointFile:
    """A file of keypoints.

    Args:
        file: .npz, .npy or .json; see `stages.extract.imports.files`.
        skeleton: joint set.
        missing: `refuse`: every row must have keypoints; `invalid`: rows without any get zeros and
            score 0, and stage 2 leaves them out where it uses these keypoints.
    """

    file: Path
    skeleton: str
    missing: Literal["refuse", "invalid"] = "refuse"


class WithKeypoints(WrappedDataset):
    """A dataset whose imported keypoints are its own and those of files and stores, by name.

    They are part of the content identity. Instances are picklable; a copy reads the files anew if
    it is asked for them.
    """

    def __init__(self, dataset: Dataset, files: Mapping[str, KeypointFile | KeypointStore]) -> None:
        """Raise DatasetError for a name that cannot be one, or files that are missing."""
        for name, given in files.items():
            if not _NAME.fullmatch(name):
                raise DatasetError(
                    f"dataset.keypoints: {name!r} is no name; use small letters, digits, - and _."
                )
            if isinstance(given, KeypointFile) and given.skeleton not in SKELETONS:
                raise OptionError(
                    f"dataset.keypoints.{name}.skeleton: there is no joint set {given.skeleton!r}. "
                    f"Take that of the file: {', '.join(SKELETONS)}."
                )
            if isinstance(given, KeypointFile) and not given.file.is_file():
                raise DatasetError(
                    f"{given.file}: there is no such file. Check dataset.keypoints.{name}.file."
                )
        super().__init__(dataset)
        self._files = dict(files)

    def imported_keypoints(self) -> Mapping[str, ImportedKeypoints]:
        """Keypoints that come with the dataset behind, and those of the files.

        Raises:
            DatasetError: a file cannot be read, lacks rows, or is not of these rows.
        """
        own = self._dataset.imported_keypoints()
        if twice := sorted(set(own) & set(self._files)):
            raise DatasetError(
                f"dataset.keypoints: {', '.join(twice)} come with {self.name} already; choose "
                "another name."
            )
        return {**own, **self._read}

    def content_identity(self) -> dict[str, Any]:
        """Identity of the dataset behind, and of the keypoints as they are placed on its rows."""
        return {
            **self._dataset.content_identity(),
            "keypoint_files": {
                name: keypoints.identity() for name, keypoints in sorted(self._read.items())
            },
        }

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_read"}

    @cached_property
    def _read(self) -> dict[str, ImportedKeypoints]:
        plan = self._dataset.plan()
        items = plan.index["item"].words()
        read: dict[str, ImportedKeypoints] = {}
        for name, given in self._files.items():
            if isinstance(given, KeypointStore):
                read[name] = read_store(given, self._dataset, f"dataset.keypoints.{name}")
                continue
            points, there = place(read_entries(given.file, given.skeleton), items, given.file)
            if given.missing == "refuse":
                refuse_missing(there, items, given.file, f"dataset.keypoints.{name}")
            refuse_misplaced(plan, points, given.skeleton, given.file)
            read[name] = ImportedKeypoints(given.skeleton, points)
        return read
