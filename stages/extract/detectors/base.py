"""What stage 1 asks of a frozen detector."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from cache.schema import LevelSpec
from cache.skeletons import Skeleton


class DetectorError(ValueError):
    """A detector cannot be built or used: wrong checkpoint, unknown tap, crops of another size."""


@dataclass(frozen=True)
class Tap:
    """A place in a network from which a feature level is read."""

    name: str
    """Name of the level in the cache."""
    module: str
    """Dotted path below the pose estimator."""
    stride: int
    """Crop px per cell."""
    index: int | None = None
    """Which of the module's outputs, where it returns several."""


@dataclass(frozen=True)
class Detection:
    """What a detector says about a batch of crops."""

    keypoints_crop_px: NDArray[np.float32] | None  # [B, J, 3] x, y in crop px, score
    features: Mapping[str, NDArray[np.float32]]  # level name -> [B, H, W, C]


@runtime_checkable
class FrozenDetector(Protocol):
    """A network whose weights never change: crops in, joints and feature maps out.

    One without joints (an image backbone) has the skeleton None and detects keypoints None; the
    keypoints of its store then come with the dataset.
    """

    @property
    def input_size(self) -> tuple[int, int]:
        """Size (H, W) px of the crops it takes."""
        ...

    @property
    def skeleton(self) -> Skeleton | None:
        """Names and order of its joints; None if it finds none."""
        ...

    @property
    def levels(self) -> tuple[LevelSpec, ...]:
        """The feature levels it returns, finest first."""
        ...

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        """Return joints and features of crops, uint8 [B, H, W, 3] RGB."""
        ...

    def identity(self) -> dict[str, Any]:
        """Return what decides its numbers: weights, taps, normalisation, decoder, precision."""
        ...
