"""Person detectors: anything that is called with a picture and returns boxes."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveInt, model_validator

from stages.extract.boxes.onnx_options import OnnxPeopleOptions
from stages.extract.boxes.tracks import TrackConfig
from stages.extract.detectors.base import DetectorError


class PersonDetector(Protocol):
    """Finds persons. May also have `identity() -> dict`, JSON values that go into the box file."""

    def __call__(self, picture: NDArray[np.uint8]) -> NDArray[Any]:
        """Return `[P, 5]` x1, y1, x2, y2 px and score 0 to 1 for a picture [H, W, 3] RGB."""
        ...


class PeopleConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How `posecache find-people` finds persons."""

    config: str | None = None
    """One-stage mmpose config (RTMO, YOLOX-Pose); `mmpose:<path>` is one that mmpose ships."""
    mmdet_config: Path | None = None
    """Instead of `config`: a config file of mmdet, where that is installed."""
    weights: Path | None = None
    """Checkpoint of `config` or `mmdet_config`, .safetensors or .pth."""
    onnx: Path | None = None
    """Instead of `config`: your own detector as an ONNX file, weights inside."""
    onnx_options: OnnxPeopleOptions = OnnxPeopleOptions()
    """How `onnx` is fed and read, where that is not usual for its output."""
    detector: str | None = None
    """Instead of `config`: your own detector, `module:function`; the function takes a picture
    [H, W, 3] RGB and returns boxes [P, 5]: x1, y1, x2, y2, score."""
    device: str = "cpu"
    """Device of `config`, `mmdet_config` or `onnx`."""
    stride: PositiveInt = 1
    """Look at every n-th frame of a sequence."""
    link: Literal["overlap", "none"] = "overlap"
    """overlap: boxes of neighbouring frames become tracks; none: for pictures that are no sequence,
    the persons of each are numbered by score."""
    tracks: TrackConfig = TrackConfig()
    """When boxes are one person."""

    @model_validator(mode="after")
    def _one_detector(self) -> PeopleConfig:
        named = [
            name
            for name in ("config", "mmdet_config", "onnx", "detector")
            if getattr(self, name) is not None
        ]
        if len(named) > 1:
            raise ValueError(
                f"{' and '.join(f'people.{name}' for name in named)} exclude each other: name one "
                "person detector"
            )
        if self.weights is not None and named in (["onnx"], ["detector"]):
            raise ValueError(f"people.weights has no effect on people.{named[0]}: leave it out")
        if self.onnx is None and self.onnx_options != OnnxPeopleOptions():
            raise ValueError("people.onnx_options has no effect without people.onnx=FILE")
        return self


def named_detector(name: str) -> PersonDetector:
    """Return the callable `module:function`; raises DetectorError if there is none."""
    module, _, attribute = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise DetectorError(
            f"Person detector {name!r} cannot be imported: {error}. Give module:function, with the "
            "module's folder in PYTHONPATH."
        ) from error
    if not callable(found):
        raise DetectorError(f"Person detector {name!r} is not callable.")
    detector: PersonDetector = found
    return detector


def detector_identity(detector: PersonDetector, name: str | None) -> Mapping[str, Any]:
    """Return what the box file says of the detector: its own `identity()`, or its name."""
    identity = getattr(detector, "identity", None)
    return dict(identity()) if callable(identity) else {"detector": name or repr(detector)}


def checked_boxes(found: Any, size: tuple[int, int], detector: str) -> NDArray[np.float64]:
    """Return what a detector found as boxes `[P, 5]` inside a picture of (H, W) px.

    Raises:
        DetectorError: it is not of that shape, not finite, or a box ends before it starts.
    """
    boxes = np.asarray(found, dtype=np.float64)
    boxes = boxes.reshape(0, 5) if boxes.size == 0 else boxes
    if boxes.ndim != 2 or boxes.shape[1] != 5 or not np.isfinite(boxes).all():
        raise DetectorError(
            f"Person detector {detector} returned shape {np.shape(found)}; expected finite numbers "
            "[P, 5]: x1, y1, x2, y2, score."
        )
    if (boxes[:, 2:4] < boxes[:, :2]).any():
        raise DetectorError(
            f"Person detector {detector} returned boxes that end before they start; expected "
            "x1, y1, x2, y2, score."
        )
    height, width = size
    boxes[:, 0:4:2] = boxes[:, 0:4:2].clip(0, width)
    boxes[:, 1:4:2] = boxes[:, 1:4:2].clip(0, height)
    kept: NDArray[np.float64] = boxes[(boxes[:, 2:4] > boxes[:, :2]).all(axis=1)]
    return kept
