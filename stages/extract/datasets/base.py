"""What stage 1 asks of a dataset."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cache.imported import ImportedKeypoints
from cache.plan import RowPlan
from cache.schema import FrameStatus

BoxOrigin = Literal["detector", "imported"]


class DatasetError(ValueError):
    """A dataset cannot be read at all: no annotations, an unknown name, unfitting labels."""


class OptionError(DatasetError):
    """What the configuration says of a dataset is wrong, whatever lies in its folder."""


class FrameError(ValueError):
    """One frame cannot be used; `status` is what the cache records for its row."""

    def __init__(self, status: FrameStatus, message: str) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.status, str(self))


@runtime_checkable
class Dataset(Protocol):
    """A fixed list of person-frames with labels, and their pictures. Instances are picklable."""

    @property
    def name(self) -> str:
        """Name under which stores and tables list it."""
        ...

    @property
    def cpu_bound(self) -> bool:
        """True where pictures are computed, not read: only processes overlap that."""
        ...

    @property
    def box_origin(self) -> BoxOrigin | None:
        """Who found the boxes that come with the data; None where nothing tells."""
        ...

    def plan(self) -> RowPlan:
        """Return the row table: every row that a cache of this dataset will have, in order."""
        ...

    def imported_keypoints(self) -> Mapping[str, ImportedKeypoints]:
        """Return 2D keypoints that come with the data, by name; part of the content identity."""
        ...

    def load_image(self, row: int) -> NDArray[np.uint8]:
        """Return the picture of `row`, uint8 [H, W, 3] RGB; raises FrameError if it is unusable."""
        ...

    def picture_key(self, row: int) -> Hashable:
        """Return what is equal for rows that show the same picture: persons of one frame."""
        ...

    def content_identity(self) -> dict[str, Any]:
        """Return what decides the content: adapter, options, annotations; no paths or times."""
        ...
