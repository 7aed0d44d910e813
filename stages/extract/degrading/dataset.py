"""A dataset whose pictures are made worse as they are loaded."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import Dataset
from stages.extract.datasets.wrapped import WrappedDataset
from stages.extract.degrading.draws import generator_of
from stages.extract.degrading.occluder import occlude
from stages.extract.degrading.resolution import reduce_resolution

PictureDegradation = Literal["occluder", "resolution"]


class DegradedDataset(WrappedDataset):
    """The rows and labels of another dataset, and its pictures degraded by one strength.

    Args:
        dataset: the one behind.
        degradation: what is done to its pictures.
        strength: of `occluder` the covered share of the box, of `resolution` the factor.
        boxes_px: of the person [4] x1, y1, x2, y2 by row; only these rows may be asked for.
        seed: of the draws.
    """

    def __init__(
        self,
        dataset: Dataset,
        degradation: PictureDegradation,
        strength: float,
        *,
        boxes_px: Mapping[int, NDArray[np.float64]],
        seed: int,
    ) -> None:
        super().__init__(dataset)
        self._degradation, self._strength = degradation, strength
        self._boxes_px, self._seed = dict(boxes_px), seed

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """The degraded picture [H, W, 3] RGB of `row`; raises what the dataset behind raises."""
        picture = super().load_image(row)
        if self._degradation == "resolution":
            return reduce_resolution(picture, self._strength)
        rng = generator_of(self._seed, self._degradation, row)
        return occlude(picture, self._boxes_px[row], self._strength, rng)

    def picture_key(self, row: int) -> Hashable:
        """As behind; an occluder belongs to one person, so that no two rows share a picture."""
        return ("row", row) if self._degradation == "occluder" else super().picture_key(row)
