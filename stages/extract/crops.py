"""Person boxes and the affine maps that cut crops out of pictures.

Points are (x, y), sizes are (H, W); pixel centres are whole numbers. A crop affine [2, 3] maps
picture px to crop px.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Literal, get_args

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, PositiveFloat, PositiveInt

from cache.cameras import project
from cache.plan import RowPlan
from cache.schema import FrameStatus
from cache.skeletons import get_skeleton
from stages.extract.datasets.base import FrameError

BOX_MARGIN = 0.10
"""A tight joint box is grown on every side by this share of its longer side: joints lie inside the
body."""
PERSON_BOX_MM = np.array([[-1000.0, -900.0, 0.0], [1000.0, 1100.0, 0.0]])
"""Corners of the published box, relative to the true 3D root in the camera frame (y points
down)."""
MIN_BOX_PX = 2.0
LARGEST_SHARE = 64.0
"""A box this many times larger than its picture cannot show the person any more."""

BoxSource = Literal["gt2d", "gt3d", "full", "imported", "detector"]


class CropConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How persons are cut out of pictures."""

    kind: Literal["mmpose", "mmpose-udp", "capf"] = "mmpose"
    """mmpose, mmpose-udp: as mmpose's top-down pipeline without and with `use_udp`; capf: the
    published lifter's map of pixel centres."""
    box_source: BoxSource = "gt2d"
    """Where person boxes come from: the 2D or 3D labels, the whole picture, boxes that come with
    the data, or those of them that a person detector found. Shown in every result."""
    input_size: tuple[PositiveInt, PositiveInt] = (256, 192)
    """Size (H, W) of the crop in px."""
    padding: PositiveFloat = 1.25
    """Factor on the box before it is fitted to the crop's aspect ratio (kind mmpose only)."""
    flip: bool = True
    """Also extract the horizontally mirrored crop as a second view."""


def box_for_row(plan: RowPlan, row: int, source: BoxSource) -> NDArray[np.float64]:
    """Return the box (x1, y1, x2, y2) px of a row; raises FrameError where there is none."""
    if source == "full":
        height, width = (float(size) for size in plan.image_size[row])
        box = np.array([0.0, 0.0, width, height])
    elif source == "gt2d":
        box = _joint_box(plan, row)
    elif source == "gt3d":
        if plan.joints_3d_mm is None or not plan.cameras:
            raise FrameError(
                FrameStatus.BAD_BOX,
                "The dataset has no 3D labels, or no cameras to project them; choose "
                "crop.box_source gt2d, imported or full.",
            )
        camera = plan.cameras[int(plan.index["camera"].codes[row])]
        pinhole = replace(camera, distortion=(0.0,) * 5, distortion_model="none")
        root = plan.joints_3d_mm[row, get_skeleton(plan.skeleton).root].astype(np.float64)
        box = np.asarray(project(root + PERSON_BOX_MM, pinhole), dtype=np.float64).reshape(4)
    elif source in ("imported", "detector"):
        if plan.boxes_px is None:
            raise FrameError(
                FrameStatus.BAD_BOX,
                f"The dataset has no {source} boxes; choose crop.box_source gt2d, gt3d or full.",
            )
        box = plan.boxes_px[row].astype(np.float64)
    else:
        raise ValueError(f"Unknown box source {source!r}; known: {', '.join(get_args(BoxSource))}.")
    return _checked(box, plan, row, source)


def crop_affine(box: NDArray[np.float64], config: CropConfig) -> NDArray[np.float64]:
    """Return the map [2, 3] from picture px to crop px for a box (x1, y1, x2, y2)."""
    height, width = config.input_size
    if config.kind == "capf":
        return _pixel_centre_affine(box, height, width)
    centre, scale = _mmpose_centre_and_scale(box, width / height, config.padding)
    if config.kind == "mmpose-udp":
        return _udp_affine(centre, scale, height, width)
    return corner_affine(centre, scale[0], height, width)


def warp(
    image: NDArray[np.uint8], affine: NDArray[np.float64], size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Return the crop [H, W, 3] of `image` under `affine`, bilinear, zeros outside the picture."""
    height, width = size
    crop = cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR)
    return np.asarray(crop, dtype=np.uint8)


def _joint_box(plan: RowPlan, row: int) -> NDArray[np.float64]:
    points = plan.joints_2d_px[row][plan.valid[row]].astype(np.float64)
    if not len(points):
        raise FrameError(
            FrameStatus.NO_PERSON, f"Row {row} has no valid 2D joint to put a box around."
        )
    low, high = points.min(axis=0), points.max(axis=0)
    margin = BOX_MARGIN * (high - low).max()
    return np.concatenate([low - margin, high + margin])


def _checked(box: NDArray[np.float64], plan: RowPlan, row: int, source: str) -> NDArray[np.float64]:
    sides = box[2:] - box[:2]
    picture = float(max(plan.image_size[row].max(), 1))
    if not np.isfinite(box).all() or sides.min() < 0 or sides.max() < MIN_BOX_PX:
        raise FrameError(
            FrameStatus.BAD_BOX,
            f"Row {row}: the {source} box {box.tolist()} is empty or not finite.",
        )
    if sides.max() > LARGEST_SHARE * max(picture, MIN_BOX_PX) and picture > 1:
        raise FrameError(
            FrameStatus.BAD_BOX,
            f"Row {row}: the {source} box {box.tolist()} is far larger than its picture.",
        )
    low, high = np.maximum(box[:2], 0), np.minimum(box[2:], plan.image_size[row][::-1])
    if picture > 1 and (low >= high).any():
        raise FrameError(
            FrameStatus.BAD_BOX,
            f"Row {row}: the {source} box {box.tolist()} lies outside its picture.",
        )
    return box


def _mmpose_centre_and_scale(
    box: NDArray[np.float64], aspect_ratio: float, padding: float
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    # float32 like GetBBoxCenterScale and TopdownAffine, so that crops agree bit for bit.
    corners = box.astype(np.float32)
    scale = (corners[2:] - corners[:2]) * np.float32(padding)
    centre = (corners[2:] + corners[:2]) * np.float32(0.5)
    ratio = np.float32(aspect_ratio)
    if scale[0] > scale[1] * ratio:
        return centre, np.array([scale[0], scale[0] / ratio], dtype=np.float32)
    return centre, np.array([scale[1] * ratio, scale[1]], dtype=np.float32)


def corner_affine(
    centre: NDArray[np.float32], scale_width: np.float32, height: int, width: int
) -> NDArray[np.float64]:
    """Return mmpose's map [2, 3] of an upright box, `scale_width` px wide, onto an input."""
    source = np.zeros((3, 2), dtype=np.float32)
    target = np.zeros((3, 2), dtype=np.float32)
    source[0] = centre
    source[1] = centre + np.array([scale_width * -0.5, 0.0])
    target[0] = (width * 0.5, height * 0.5)
    target[1] = target[0] + np.array([width * -0.5, 0.0])
    for points in (source, target):
        direction = points[0] - points[1]
        points[2] = points[1] + np.array([-direction[1], direction[0]])
    return np.asarray(cv2.getAffineTransform(source, target), dtype=np.float64)


def _udp_affine(
    centre: NDArray[np.float32], scale: NDArray[np.float32], height: int, width: int
) -> NDArray[np.float64]:
    # The box spans one pixel less than the crop: its edges fall on the outermost pixel centres.
    zoom = np.array([width - 1, height - 1], dtype=np.float32) / scale
    shift = zoom * (-centre + np.float32(0.5) * scale)
    return np.array([[zoom[0], 0.0, shift[0]], [0.0, zoom[1], shift[1]]], dtype=np.float64)


def _pixel_centre_affine(box: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    scale = (width - 1) / max(float(box[2] - box[0]) - 1.0, 1.0)
    centre = (box[2:] + box[:2]) * 0.5
    pivot = np.array([(width - 1) / 2, (height - 1) / 2])
    shift = pivot - scale * centre
    return np.array([[scale, 0.0, shift[0]], [0.0, scale, shift[1]]])
