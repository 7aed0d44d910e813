"""Pictures that are costly to compute, kept on disk after their first use."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.base import Dataset
from stages.extract.datasets.wrapped import WrappedDataset


class KeptPictures(WrappedDataset):
    """A dataset whose pictures are written to `folder` when first asked for and read back later.

    For work that looks at every picture many times. A file is renamed into place when complete, so
    several processes may share the folder. Only a dataset that computes its pictures is worth
    keeping; its content identity is unchanged. The folder belongs to one dataset.
    """

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        super().__init__(dataset)
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """The picture [H, W, 3] RGB of `row`; raises what the dataset behind raises."""
        path = self._folder / f"{row:07d}.npy"
        if path.exists():
            kept: NDArray[np.uint8] = np.load(path, allow_pickle=False)
            return kept
        picture = self._dataset.load_image(row)
        with tempfile.NamedTemporaryFile(dir=self._folder, suffix=".partial", delete=False) as file:
            np.save(file, picture, allow_pickle=False)
        Path(file.name).rename(path)
        return picture
