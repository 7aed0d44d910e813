"""Frames ready for a detector: the crops of one row, or the reason why there are none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cache.coords import mirror_affine
from cache.plan import RowPlan
from cache.schema import FrameStatus
from stages.extract.crops import CropConfig, box_for_row, crop_affine, warp
from stages.extract.datasets.base import Dataset, FrameError
from stages.extract.shared_pictures import SharedPictures


@dataclass(frozen=True)
class Frame:
    """Crops of one row in every view; zeros where the frame cannot be used."""

    row: int
    status: FrameStatus
    crops: NDArray[np.uint8]  # [V, H, W, 3] RGB
    affine: NDArray[np.float64]  # [V, 2, 3] picture px to crop px, mirror included
    message: str = ""


class FrameTask:
    """Task for a `Loader`: row -> Frame. Picklable; boxes and affines are computed once, here."""

    def __init__(
        self, dataset: Dataset, crop: CropConfig, plan: RowPlan, rows: Iterable[int]
    ) -> None:
        """Compute boxes and affines of `rows`, the only ones that may be asked for."""
        rows = tuple(rows)
        self._pictures = SharedPictures(dataset, rows)
        self._size = crop.input_size
        self._num_views = 2 if crop.flip else 1
        self._affine: dict[int, NDArray[np.float64]] = {}  # [2, 3] each
        self._failed: dict[int, tuple[FrameStatus, str]] = {}
        for row in rows:
            try:
                box = box_for_row(plan, row, crop.box_source)
            except FrameError as error:
                self._failed[row] = (error.status, str(error))
            else:
                self._affine[row] = crop_affine(box, crop)

    def __call__(self, row: int) -> Frame:
        """Return the frame of `row`; one that cannot be used carries its status and message."""
        cv2.setNumThreads(1)  # parallel over rows already
        try:
            image = self._pictures.load(row)
        except FrameError as error:
            return self._unusable(row, error.status, str(error))
        if row in self._failed:
            return self._unusable(row, *self._failed[row])
        affine = self._affine[row]
        crops = np.empty((self._num_views, *self._size, 3), dtype=np.uint8)
        affines = np.empty((self._num_views, 2, 3))
        crops[0], affines[0] = warp(image, affine, self._size), affine
        if self._num_views == 2:
            # The very pixels of the plain view, mirrored: resampling once keeps the two comparable.
            crops[1], affines[1] = crops[0, :, ::-1], mirror_affine(affine, self._size[1])
        return Frame(row, FrameStatus.OK, crops, affines)

    def _unusable(self, row: int, status: FrameStatus, message: str) -> Frame:
        return Frame(
            row,
            status,
            np.zeros((self._num_views, *self._size, 3), dtype=np.uint8),
            np.zeros((self._num_views, 2, 3)),
            message,
        )
