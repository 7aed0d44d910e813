"""Pictures of the rows of a store, cropped around the person, as JPEG inside the page."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from cache import CacheReader
from cache.fingerprint import diff_identities
from pipeline.config import DatasetConfig
from pipeline.datasets import dataset_of
from stages.extract.datasets import Dataset, DatasetError, FrameError

_MARGIN = 0.18  # of the person's longer side, around all joints
_QUALITY = 82


@dataclass(frozen=True)
class CroppedPicture:
    """A part of a picture: what of it is seen, and the JPEG."""

    uri: str  # data:image/jpeg;base64,...
    left_px: float  # px of the dataset's picture at the outer edge of the first shown px
    top_px: float
    width_px: float  # size of the shown part, px of the dataset's picture
    height_px: float


class Pictures:
    """The pictures of a store's rows, or the reason why there are none."""

    def __init__(self, dataset: Dataset | None, why_none: str = "") -> None:
        self._dataset = dataset
        self.why_none = why_none
        self.missing: list[str] = []
        """Pictures that were asked for and could not be read, and why."""

    @property
    def available(self) -> bool:
        """Whether the dataset is on this machine and is the store's."""
        return self._dataset is not None

    def crop(
        self,
        row: int,
        points_px: NDArray[np.floating],  # [..., 2] all that must be seen
        *,
        longest_px: int,
    ) -> CroppedPicture | None:
        """Return the part of a row's picture around the points; None where it cannot be read.

        Its longer side is `longest_px` of the page or less: pictures are never enlarged.
        """
        if self._dataset is None:
            return None
        try:
            image = self._dataset.load_image(row)
        except (DatasetError, FrameError, OSError) as error:
            self.missing.append(f"row {row}: {error}")
            return None
        return crop_around(image, points_px, longest_px=longest_px)


def pictures_of(config: DatasetConfig, reader: CacheReader) -> Pictures:
    """Return the pictures of a configuration's dataset, if it is that of the store."""
    try:
        dataset = dataset_of(config)
        differences = diff_identities(reader.content_identity, dataset.content_identity())
    except (DatasetError, OSError) as error:
        return Pictures(None, f"Pictures are left out: {error}")
    if differences:
        return Pictures(
            None,
            f"Pictures are left out: the dataset {config.name!r} is not that of the store"
            f" ({differences[0]}).",
        )
    return Pictures(dataset)


def crop_around(
    image: NDArray[np.uint8],  # [H, W, 3] RGB
    points_px: NDArray[np.floating],  # [..., 2]
    *,
    longest_px: int,
) -> CroppedPicture:
    """Return the square around the points, as far as it lies in the picture."""
    height, width = image.shape[:2]
    points = np.asarray(points_px, dtype=np.float64).reshape(-1, 2)
    low, high = points.min(axis=0), points.max(axis=0)
    centre, half = (low + high) / 2, max(float((high - low).max()) * (0.5 + _MARGIN), 8.0)
    left, top = (int(v) for v in np.clip(np.floor(centre - half), 0, (width - 1, height - 1)))
    right, bottom = (
        int(v) for v in np.clip(np.ceil(centre + half) + 1, (left + 1, top + 1), (width, height))
    )
    part = image[top:bottom, left:right]
    scale = min(1.0, longest_px / max(part.shape[:2]))
    if scale < 1.0:
        size = (max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale)))
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    done, encoded = cv2.imencode(
        ".jpg", np.ascontiguousarray(part[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    assert done
    uri = "data:image/jpeg;base64," + base64.b64encode(encoded.tobytes()).decode("ascii")
    # Pixel centres lie at whole numbers, so the first shown px begins half a px before its centre.
    return CroppedPicture(uri, left - 0.5, top - 0.5, float(right - left), float(bottom - top))


def spread_rows(count: int, most: int) -> Sequence[int]:
    """Return at most `most` of the numbers below `count`, evenly spread, the first among them."""
    step = max(1, -(-count // most))
    return range(0, count, step)
