"""A dataset that answers for another one; what a wrapper changes, it overrides."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.imported import ImportedKeypoints
from cache.plan import RowPlan
from stages.extract.datasets.base import BoxOrigin, Dataset


class WrappedDataset:
    """Everything as the dataset behind has it."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset

    @property
    def name(self) -> str:
        """Name of the dataset behind."""
        return self._dataset.name

    @property
    def cpu_bound(self) -> bool:
        """As the dataset behind."""
        return self._dataset.cpu_bound

    @property
    def box_origin(self) -> BoxOrigin | None:
        """Who found the boxes of the dataset behind."""
        return self._dataset.box_origin

    def plan(self) -> RowPlan:
        """Row table of the dataset behind."""
        return self._dataset.plan()

    def imported_keypoints(self) -> Mapping[str, ImportedKeypoints]:
        """Keypoints that come with the dataset behind."""
        return self._dataset.imported_keypoints()

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """The picture [H, W, 3] RGB of `row`; raises what the dataset behind raises."""
        return self._dataset.load_image(row)

    def picture_key(self, row: int) -> Hashable:
        """As the dataset behind."""
        return self._dataset.picture_key(row)

    def content_identity(self) -> dict[str, Any]:
        """Identity of the dataset behind."""
        return self._dataset.content_identity()
