"""2D keypoints from files, beside any dataset."""

from __future__ import annotations

from stages.extract.imports.dataset import KeypointFile, WithKeypoints

__all__ = ["KeypointFile", "WithKeypoints"]
