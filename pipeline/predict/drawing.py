"""One frame of an overlay: the picture with 2D joints, beside the poses in space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cache import Skeleton
from stages.lift.figures import bones

Picture = NDArray[np.uint8]  # [H, W, 3] RGB
_DPI = 100
_REACH_MM = 800.0
"""A person alone is shown as large as this lets it be, whatever its pose."""
_APART_MM = 1300.0
"""Distance at which persons stand side by side where nothing says where they are."""
_ZOOM = 1.25
_WARNING = (190, 20, 20)


@dataclass(frozen=True)
class Person:
    """One person of one frame."""

    name: str
    keypoints_px: NDArray[np.float64]  # [J, 3] of the picture, score
    box_px: NDArray[np.float64]  # [4]
    joints_mm: NDArray[np.float64]  # [J, 3] camera frame; root where `place_people` put it


def place_people(
    joints_3d_mm: NDArray[np.float64],  # [p, J, 3] relative to the root
    boxes_px: NDArray[np.float64],  # [p, 4]
    root_mm: NDArray[np.float64] | None,  # [p, 3]
) -> NDArray[np.float64]:  # [p, J, 3]
    """Returns the poses in one space: where they are if that is known, else side by side.

    Side by side they stand in the order of their boxes, from left to right; true places are moved
    together so that the middle of all is at 0.
    """
    if root_mm is not None and np.isfinite(root_mm).all():
        placed = joints_3d_mm + root_mm[:, None]
        middle: NDArray[np.float64] = placed - root_mm.mean(axis=0)
        return middle
    order = np.argsort(np.argsort(boxes_px[:, [0, 2]].mean(axis=1), kind="stable"))
    offsets = (order - (len(order) - 1) / 2) * _APART_MM
    placed = joints_3d_mm.copy()
    placed[..., 0] += offsets[:, None]
    return placed


def overlay_width(size: Sequence[int] | NDArray[np.integer], height: int) -> int:
    """Returns how wide a picture of (H, W) px is when it is `height` px high; even."""
    return max(2, round(float(size[1]) * height / float(size[0]) / 2) * 2)


def draw_people(
    picture: Picture,
    people: Sequence[Person],
    skeleton: Skeleton,
    *,
    height: int,
    min_score: float,
) -> Picture:
    """Returns the picture, `height` px high, with boxes and 2D joints."""
    scale = height / picture.shape[0]
    width = overlay_width(picture.shape, height)
    shown = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    drawn = np.ascontiguousarray(shown)
    line = max(1, round(height / 240))
    for person in people:
        # Pixel centres are whole numbers, before and after.
        points = (person.keypoints_px[:, :2] + 0.5) * [width / picture.shape[1], scale] - 0.5
        sure = person.keypoints_px[:, 2] >= min_score
        corners = (person.box_px.reshape(2, 2) * scale).round().astype(int)
        cv2.rectangle(drawn, corners[0].tolist(), corners[1].tolist(), (235, 235, 235), 1)
        for joint, parent, colour in bones(skeleton):
            if sure[joint] and sure[parent]:
                one, other = points[[joint, parent]].round().astype(int).tolist()
                cv2.line(drawn, one, other, (255, 255, 255), line + 2, cv2.LINE_AA)
                cv2.line(drawn, one, other, _rgb(colour), line, cv2.LINE_AA)
        for x, y in points[sure].round().astype(int).tolist():
            cv2.circle(drawn, (x, y), line + 1, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.circle(drawn, (x, y), line, (40, 40, 40), -1, cv2.LINE_AA)
    return np.asarray(drawn, dtype=np.uint8)


def write_banner(picture: Picture, text: str) -> Picture:
    """Returns the picture with a line of warning below it."""
    height, width = picture.shape[:2]
    scale = min(height / 900, width / (19.0 * max(len(text), 1)))
    high = max(14, round(height / 40)) * 2
    banner = np.concatenate([picture, np.full((high, width, 3), _WARNING, dtype=np.uint8)])
    cv2.putText(
        banner,
        text,
        (6, height + round(high * 0.7)),
        cv2.FONT_HERSHEY_SIMPLEX,
        scale,
        (255, 255, 255),
        1,
        cv2.LINE_AA,
    )
    return banner


class Space:
    """Poses in space, drawn again and again from changing sides; `size` px wide and high.

    Args:
        skeleton: of the poses.
        poses_mm: all poses that will be drawn [J, 3]; they stand on a grid as low as the lowest.
        size: px.
    """

    def __init__(
        self, skeleton: Skeleton, poses_mm: Sequence[NDArray[np.float64]], *, size: int
    ) -> None:
        self._bones = bones(skeleton)
        self._figure = Figure(figsize=(size / _DPI, size / _DPI), dpi=_DPI)
        self._canvas: Any = FigureCanvasAgg(self._figure)
        axes: Any = self._figure.add_axes((0.0, 0.0, 1.0, 1.0), projection="3d")
        reach_mm, floor_mm, height_mm = _extent(poses_mm)
        axes.set_xlim(-reach_mm, reach_mm)
        axes.set_ylim(-reach_mm, reach_mm)
        axes.set_zlim(-floor_mm, height_mm - floor_mm)
        # The diagonal of the grid turns through the view.
        axes.set_box_aspect((2 * reach_mm, 2 * reach_mm, height_mm), zoom=_ZOOM)
        axes.set_proj_type("ortho")  # as large in front as behind
        axes.set_axis_off()
        ticks = np.linspace(-reach_mm, reach_mm, 7)
        for tick in ticks:
            for x, y in (((tick, tick), ticks[[0, -1]]), (ticks[[0, -1]], (tick, tick))):
                axes.plot(x, y, (-floor_mm, -floor_mm), color="#d5d5d5", linewidth=0.7)
        self._axes = axes
        self._lines: list[list[Any]] = []

    def draw(
        self, poses_mm: Sequence[NDArray[np.float64]], *, azimuth: float, elevation: float = 10.0
    ) -> Picture:
        """Returns the poses [J, 3] of the camera frame, seen from `azimuth` degrees.

        0 is the camera's own view; the camera looks along z with y downwards.
        """
        while len(self._lines) < len(poses_mm):
            self._lines.append(
                [
                    self._axes.plot([], [], [], color=colour, linewidth=2.4)[0]
                    for *_, colour in self._bones
                ]
            )
        for place, lines in enumerate(self._lines):
            for (joint, parent, _), line in zip(self._bones, lines, strict=True):
                line.set_visible(place < len(poses_mm))
                if place < len(poses_mm):
                    x, y, z = poses_mm[place][[joint, parent]].T
                    line.set_data_3d(x, z, -y)
        self._axes.view_init(elev=elevation, azim=azimuth - 90.0)
        self._canvas.draw()
        return np.asarray(self._canvas.buffer_rgba(), dtype=np.uint8)[..., :3].copy()


def _extent(poses_mm: Sequence[NDArray[np.float64]]) -> tuple[float, float, float]:
    """Returns how far poses reach from the middle, how low the lowest joint is, and their height.

    All mm; low is along y, which points down.
    """
    if not poses_mm:
        return _REACH_MM, 0.0, 2 * _REACH_MM
    points = np.concatenate(poses_mm)
    reach = max(_REACH_MM, float(np.abs(points[:, [0, 2]]).max()) * 1.02)
    floor = float(points[:, 1].max())
    return reach, floor, max(floor - float(points[:, 1].min()), 1.0)


def _rgb(colour: str) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue
