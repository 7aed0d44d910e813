"""How pictures go into a person detector of a user's, and which of its answers count."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt

from stages.extract.boxes.tracks import Share

LayoutName = Literal["end_to_end", "yolox", "yolov8"]
Resize = Literal["letterbox", "letterbox_centred", "stretch"]
Channels = Literal["rgb", "bgr"]

_DEFAULTS: dict[LayoutName, dict[str, Any]] = {
    "end_to_end": {"resize": "letterbox", "channels": "bgr", "input_max": 255.0},
    "yolox": {"resize": "letterbox", "channels": "bgr", "input_max": 255.0},
    "yolov8": {"resize": "letterbox_centred", "channels": "rgb", "input_max": 1.0},
}
"""What the tools feed that write these layouts: mmdeploy for YOLOX, YOLOX, Ultralytics."""


class OnnxPeopleOptions(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How `people.onnx` is fed and read; `None`: as is usual for the layout of its output."""

    layout: LayoutName | None = None
    """end_to_end: dets [1, N, 5] and labels [1, N]; yolox: [1, A, 5 + classes] on grids of stride
    8, 16 and 32; yolov8: [1, 4 + classes, A]. `None`: told from the shapes."""
    input_size: tuple[PositiveInt, PositiveInt] | None = None
    """(H, W) px, for files that take any size."""
    resize: Resize | None = None
    """letterbox: aspect kept, padding right and below; letterbox_centred: padding on both sides;
    stretch: to the input, whatever the aspect."""
    channels: Channels | None = None
    """Order of the colours."""
    input_max: PositiveFloat | None = None
    """What white is before `mean` and `std`: 255 or 1."""
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """Subtracted, in the order of `channels`, in units of `input_max`."""
    std: tuple[PositiveFloat, PositiveFloat, PositiveFloat] = (1.0, 1.0, 1.0)
    """Divided by, in the order of `channels`, in units of `input_max`."""
    person_class: NonNegativeInt = 0
    """Number of the class person."""
    min_score: Share = 0.3
    """Boxes that the detector is less sure of are left out."""
    nms_overlap: Annotated[float, Field(gt=0, le=1)] = 0.45
    """Of boxes of a larger intersection over union the surest stays; not of end_to_end, which has
    done it."""

    def completed(self, layout: LayoutName) -> OnnxPeopleOptions:
        """Return the options with what is usual for a layout where nothing was said."""
        usual = {k: v for k, v in _DEFAULTS[layout].items() if getattr(self, k) is None}
        return self.model_copy(update={"layout": layout, **usual})
