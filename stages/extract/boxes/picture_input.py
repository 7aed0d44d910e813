"""Pictures as the input of a network, and boxes in it as boxes in the picture."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from stages.extract.boxes.onnx_options import OnnxPeopleOptions, Resize

_PADDING = 114  # grey, as YOLO detectors are trained with


class Fit(NamedTuple):
    """Where a picture lies in the input: input px = picture px * scale + start, edges at 0."""

    scale_x: float
    scale_y: float
    start_x: int
    start_y: int

    def in_picture(self, boxes: NDArray[Any]) -> NDArray[np.float64]:
        """Return boxes `[P, 5]` px of the input, with scores, in px of the picture."""
        moved = np.array(boxes, dtype=np.float64)
        moved[:, 0:4:2] = (moved[:, 0:4:2] - self.start_x) / self.scale_x
        moved[:, 1:4:2] = (moved[:, 1:4:2] - self.start_y) / self.scale_y
        return moved


def fit_picture(
    picture: NDArray[np.uint8], input_size: tuple[int, int], resize: Resize
) -> tuple[NDArray[np.uint8], Fit]:
    """Return the picture in the input [H, W, 3], padded with grey, and where it lies there."""
    height, width = input_size
    shown_h, shown_w = picture.shape[:2]
    if resize != "stretch":
        scale = min(height / shown_h, width / shown_w)
        height, width = max(1, round(shown_h * scale)), max(1, round(shown_w * scale))
    resized = cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR)
    left = top = 0
    if resize == "letterbox_centred":
        top, left = (input_size[0] - height) // 2, (input_size[1] - width) // 2
    padded = np.full((*input_size, 3), _PADDING, dtype=np.uint8)
    padded[top : top + height, left : left + width] = resized
    return padded, Fit(width / shown_w, height / shown_h, left, top)


def network_input(
    padded: NDArray[np.uint8], options: OnnxPeopleOptions
) -> NDArray[np.float32]:  # [1, 3, H, W]
    """Return a picture [H, W, 3] RGB as the network wants its numbers; the options are complete."""
    assert options.input_max is not None
    ordered = padded[..., ::-1] if options.channels == "bgr" else padded
    values = ordered.astype(np.float32) * np.float32(options.input_max / 255)
    mean, std = (np.array(each, dtype=np.float32) for each in (options.mean, options.std))
    values = (values - mean) / std
    return np.ascontiguousarray(values.transpose(2, 0, 1))[None]
