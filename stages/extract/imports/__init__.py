"""2D keypoints from files and from other stores, beside any dataset."""

from __future__ import annotations

from stages.extract.imports.dataset import KeypointFile, WithKeypoints
from stages.extract.imports.stores import KeypointStore

__all__ = ["KeypointFile", "KeypointStore", "WithKeypoints"]
