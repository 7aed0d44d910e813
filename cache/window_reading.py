"""The maps of windows of frames, each row read once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache.reader import CacheReader
from cache.schema import FrameStatus
from cache.windows import ClipWindows, WindowShape


@dataclass(frozen=True)
class WindowMaps:
    """Maps of `B` windows of `F` frames; rows that several frames share are there once.

    `maps[level][places]` is [B, F, H, W, C]; most lifters and ops do without that copy.
    """

    rows: NDArray[np.int64]  # [R] of the store, ascending
    maps: dict[str, NDArray[Any]]  # by level, [R, H, W, C] as stored
    places: NDArray[np.int64]  # [B, F] which of the R each frame is
    is_real: NDArray[np.bool_]  # [B, F] not repeated at the end of a clip, nor a substitute


class StoreWindows:
    """Windows of frames around rows of a store, inside their clips.

    Args:
        reader: of one store or several.
        shape: of every window.
        usable: [N] rows that may be seen; `None`: those that are committed and whose status is OK.

    Raises:
        ValueError: `usable` is not one truth value per row.
    """

    def __init__(
        self, reader: CacheReader, shape: WindowShape, *, usable: ArrayLike | None = None
    ) -> None:
        self.reader = reader
        seen = _sound_rows(reader) if usable is None else np.asarray(usable)
        if seen.dtype != np.bool_ or seen.shape != (len(reader),):
            raise ValueError(
                f"usable must be bool of shape ({len(reader)},), got {seen.dtype} of {seen.shape}"
            )
        self._rows = np.flatnonzero(seen).astype(np.int64)
        self._windows = ClipWindows(
            reader.index("clip").codes[self._rows], reader.index("frame").codes[self._rows], shape
        )

    def rows_around(self, rows: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Returns the windows of `rows` [B]: rows [B, F], and which of them are real.

        Raises `IndexError` for a row that does not exist or is not usable.
        """
        targets = np.asarray(rows, dtype=np.int64)
        places = np.minimum(np.searchsorted(self._rows, targets), max(len(self._rows) - 1, 0))
        known = np.isin(targets, self._rows)
        if not known.all():
            raise IndexError(
                f"no windows around the rows {targets[~known][:5].tolist()}: they are not among the"
                f" {len(self._rows)} usable ones of {len(self.reader)}"
            )
        positions, is_real = self._windows.of(places)
        return self._rows[positions], is_real

    def read(
        self, rows: ArrayLike, *, levels: Sequence[str] | None = None, view: int = 0
    ) -> WindowMaps:
        """Returns the maps of the windows of `rows` [B]; every row that they need is read once.

        `levels` and `view` are those of `CacheReader.read`, which also says what is raised.
        """
        window_rows, is_real = self.rows_around(rows)
        needed, places = np.unique(window_rows, return_inverse=True)
        return WindowMaps(
            rows=needed,
            maps=self.reader.read(needed, levels=levels, view=view),
            places=places.reshape(window_rows.shape),
            is_real=is_real,
        )


def _sound_rows(reader: CacheReader) -> NDArray[np.bool_]:  # [N]
    sound = reader.committed()
    sound[sound] = reader.status(rows=np.flatnonzero(sound)) == FrameStatus.OK
    return sound
