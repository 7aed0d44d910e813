"""What can be chosen about predictions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field, NonNegativeFloat, PositiveFloat, PositiveInt

Distortion = tuple[float, float, float, float, float]


class PredictConfig(
    BaseModel,
    extra="forbid",
    frozen=True,
    allow_inf_nan=False,
    use_attribute_docstrings=True,
):
    """How `posecache predict` treats pictures and what it writes."""

    pictures: Literal["real", "rendered"] = "real"
    """What the input shows. A run that was trained on rendered people is not for real ones, and
    says so in everything that it writes."""
    stride: PositiveInt = 1
    """Every n-th frame of each video and folder, from the first on."""
    min_box_score: NonNegativeFloat = 0.0
    """Leave out boxes that are less sure."""
    intrinsics: tuple[PositiveFloat, PositiveFloat, float, float] | None = None
    """fx, fy, cx, cy of the camera in px of the picture; then poses are also placed in front of the
    camera. `--intrinsics` sets it."""
    distortion: Distortion = (0.0, 0.0, 0.0, 0.0, 0.0)
    """k1, k2, p1, p2, k3 of that camera, as OpenCV calibrates it."""
    smooth_s: NonNegativeFloat = 0.0
    """Standard deviation in seconds of a Gaussian over the frames of a person; 0: no smoothing.
    0.05 takes most of the jitter of a video with 25 frames per second."""
    fps: PositiveFloat | None = None
    """Frames per second of folders of pictures, and of videos that do not say; `None`: 25."""
    refine: bool = False
    """Move joints and root so that they project onto the 2D joints and bones keep their lengths, as
    `evaluate.refinement` says; needs `intrinsics`."""
    overlay: Literal["auto", "video", "pictures", "none"] = "auto"
    """Pictures beside rotating skeletons: `auto` writes a video for each video, and a picture for
    each picture."""
    overlay_height: Annotated[int, Field(ge=120, le=2160)] = 480
    """Height of the overlay in px."""
    min_joint_score: NonNegativeFloat = 0.0
    """2D joints that are less sure are not drawn; the files have all."""
