"""A stand-in for a reader of a huge store: what training asks of one, without a disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.made_store import LEVELS, made_spec
from cache import CacheSpec, IndexColumn, LevelSpec, Skeleton, get_skeleton

NOISE_ROWS = 256
SPLIT = "made"


class MadeReader:
    """Rows of one long clip with maps of noise in the sizes of HRNet-W32, in both views.

    The maps repeat after `NOISE_ROWS` rows: training takes the same time for any values.

    Args:
        num_rows: of the store.
        dtype: of the maps, `uint8` (with a scale per channel) or `float16`.
    """

    block_rows = 1
    locations = ("made.zarr",)
    views = ("plain", "flipped")

    def __init__(self, num_rows: int, *, dtype: str) -> None:
        self._num_rows, self._dtype = num_rows, np.dtype(dtype)
        self._rng = np.random.default_rng(0)
        self._noise = {level.name: self._made(level) for level in LEVELS}
        height, width = self.spec.crop_size
        points = self._rng.uniform(0.1, 0.9, (num_rows, 17, 2)) * (width, height)
        self._keypoints = np.concatenate((points, np.ones((num_rows, 17, 1))), axis=-1)
        self._joints_mm = self._rng.normal(0, 300, (num_rows, 17, 3)).astype(np.float32)

    def __len__(self) -> int:
        return self._num_rows

    @property
    def spec(self) -> CacheSpec:
        """Layout of such a store."""
        return made_spec(self._num_rows)

    @property
    def skeleton(self) -> Skeleton:
        """Joints of the keypoints."""
        return get_skeleton(self.spec.skeleton)

    @property
    def label_skeleton(self) -> Skeleton:
        """Joints of the labels, the same."""
        return self.skeleton

    def source_skeleton(self, source: str) -> Skeleton:  # noqa: ARG002 - all alike
        """Returns the joints of the keypoints."""
        return self.skeleton

    def has_label(self, name: str) -> bool:
        """Whether there is such a label."""
        return name in ("valid", "joints_3d_mm")

    @property
    def levels(self) -> dict[str, LevelSpec]:
        """The maps."""
        return {level.name: level for level in LEVELS}

    def level_dtype(self, name: str) -> np.dtype[Any]:  # noqa: ARG002 - all alike
        """Type of the maps."""
        return self._dtype

    def scales(self, name: str) -> NDArray[np.float32] | None:
        """Returns what 8-bit maps are multiplied by, [C]."""
        if self._dtype != np.uint8:
            return None
        return np.full(self.levels[name].channels, 1 / 255, dtype=np.float32)

    def index(self, name: str) -> IndexColumn:  # noqa: ARG002 - all alike
        """Returns a column of zeros."""
        return IndexColumn(np.zeros(self._num_rows, dtype=np.int32), (SPLIT,))

    def status(self, *, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Returns OK for each row."""
        return np.zeros(len(rows), dtype=np.uint8)

    def labels(self, name: str) -> NDArray[Any]:
        """Returns poses and which joints of them are valid: all."""
        if name == "valid":
            return np.ones((self._num_rows, 17), dtype=np.bool_)
        assert name == "joints_3d_mm", name
        return self._joints_mm

    def keypoints(
        self,
        source: str,  # noqa: ARG002
        view: int = 0,  # noqa: ARG002
        *,
        rows: NDArray[np.int64],
    ) -> NDArray[np.float64]:
        """Returns joints everywhere in the crop, [n, J, 3] px."""
        return self._keypoints[rows]

    def image_size(self) -> NDArray[np.int32]:
        """Returns that of a crop for each row: pictures are crops."""
        return np.tile(np.array(self.spec.crop_size, dtype=np.int32), (self._num_rows, 1))

    def affine(self, view: int = 0, *, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns the identity, mirrored for the flipped view."""
        last = self.spec.crop_size[1] - 1
        rule = [[-1.0, 0, last], [0, 1, 0]] if view else [[1.0, 0, 0], [0, 1, 0]]
        return np.tile(np.array(rule), (len(rows), 1, 1))

    def read(
        self,
        rows: NDArray[np.int64],
        *,
        levels: Sequence[str],
        view: int | NDArray[np.int64] = 0,  # noqa: ARG002 - the same noise
        out: Mapping[str, NDArray[Any]] | None = None,
    ) -> Mapping[str, NDArray[Any]]:
        """Returns the maps [n, H, W, C] by level, written to `out` where it is given."""
        found = {name: None if out is None else out[name] for name in levels}
        return {
            name: np.take(self._noise[name], rows % NOISE_ROWS, axis=0, out=into, mode="clip")
            for name, into in found.items()
        }

    def _made(self, level: LevelSpec) -> NDArray[Any]:
        shape = (NOISE_ROWS, *level.map_shape)
        if self._dtype == np.uint8:
            return self._rng.integers(0, 256, shape, dtype=np.uint8)
        return self._rng.random(shape, dtype=np.float32).astype(self._dtype)
