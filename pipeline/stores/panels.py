"""The panels of a frame's picture: the dataset's picture, the crop, and a map per level."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import SubFigure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from cache import CacheReader, FrameStatus, LevelSpec, Skeleton, SkeletonMismatch, convert_keypoints
from cache.coords import apply_affine, invert_affine
from stages.extract.crops import warp
from stages.lift.figures import LEFT, MIDDLE, RIGHT, bones, describe_row

_LABELS = "gt"
_BLANK, _LEGEND_GREY = "#8a8a8a", "#777777"
_OVERLAY = 0.65
"""Opacity of a feature map over its crop."""


class Frame:
    """A row in one view, with its joints in the picture and in the crop."""

    def __init__(
        self, reader: CacheReader, row: int, view: int, image: NDArray[np.uint8] | None
    ) -> None:
        self.reader, self.row, self.view, self.image = reader, row, view, image
        self.affine = reader.affine(view, rows=[row])[0]
        self.crop_size = reader.spec.crop_size
        self.status = FrameStatus(int(reader.status(rows=[row])[0])).name
        self.is_usable = self.status == FrameStatus.OK.name
        self.item = reader.index("item").words()[row]
        self.joints: dict[str, tuple[Skeleton, NDArray[np.float64]]] = {}
        """By source: joint set, and `[J, 3]` x and y in picture px, score."""
        for source in reader.spec.keypoint_sources if self.is_usable else ():
            skeleton = reader.source_skeleton(source)
            points = reader.keypoints(source, view, rows=[row])[0].astype(np.float64)
            self.joints[source] = skeleton, points

    def title(self) -> str:
        """Return which frame it is, in two or three lines."""
        split = self.reader.index("split").words()[self.row]
        lines = [
            f"{self.reader.name}, row {self.row}, {self.reader.views[self.view]} view",
            f"{split}: {describe_row(self.reader, self.row)} ({self.item})",
        ]
        if not self.is_usable:
            lines.append(f"not usable: {self.status}; its maps are zero")
        elif (error := self.detector_error_px()) is not None:
            lines.append(f"detector {error:.1f} px from the labels on average")
        return "\n".join(lines)

    def detector_error_px(self) -> float | None:
        """Return the mean distance of the detector's joints from valid labels, in picture px."""
        if not {"detector", _LABELS} <= self.joints.keys():
            return None
        skeleton, found = self.joints["detector"]
        label_skeleton, truth = self.joints[_LABELS]
        try:
            found = convert_keypoints(found, skeleton.name, label_skeleton.name)
        except SkeletonMismatch:
            return None
        valid = truth[:, 2] > 0
        if not valid.any():
            return None
        return float(np.linalg.norm(found[valid, :2] - truth[valid, :2], axis=-1).mean())

    def crop(self) -> NDArray[np.uint8] | None:
        """Return what the detector saw, uint8 [H, W, 3]; None without a picture or a box."""
        if self.image is None or not self.is_usable:
            return None
        return warp(self.image, self.affine, self.crop_size)

    def in_crop(self, points_px: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return picture px as crop px."""
        return apply_affine(self.affine, points_px)

    def point_places(self) -> NDArray[np.float64]:
        """Return where a point cache was sampled, `[J, 2]` crop px, in the order of its columns.

        NaN where the frame is not usable.
        """
        points, labels = self.reader.spec.points, self.reader.label_skeleton
        if points is None or not self.is_usable:
            return np.full((labels.num_joints, 2), np.nan)
        skeleton, found = self.joints[points.keypoint_source]
        if points.keypoint_source != _LABELS:
            found = convert_keypoints(found, skeleton.name, labels.name)
        places = self.in_crop(found[:, :2])
        return places[labels.swap] if self.reader.views[self.view] == "flipped" else places

    def crop_outline_px(self) -> NDArray[np.float64]:
        """Return the closed outline of the crop, `[5, 2]` picture px."""
        height, width = self.crop_size
        right, bottom = width - 0.5, height - 0.5
        corners = [(-0.5, -0.5), (right, -0.5), (right, bottom), (-0.5, bottom), (-0.5, -0.5)]
        return apply_affine(invert_affine(self.affine), np.array(corners))


def draw_joints(figure: SubFigure, frame: Frame) -> None:
    """Draw the whole picture and the crop, each with the joints of every source."""
    left, right = figure.subplots(1, 2)
    if frame.image is not None:
        left.imshow(frame.image)
    else:
        height, width = frame.reader.image_size()[frame.row]
        left.set_xlim(-0.5, max(width, 1) - 0.5)
        left.set_ylim(max(height, 1) - 0.5, -0.5)
        left.set_aspect("equal")
    left.set_facecolor(_BLANK)
    left.set_title("picture" if frame.image is not None else "picture, not at hand")
    _in_px(left, "picture px")
    if frame.is_usable:
        left.plot(*frame.crop_outline_px().T, color="white", linewidth=2.6)
        left.plot(*frame.crop_outline_px().T, color="black", linewidth=1.2)
    for source, (skeleton, points) in frame.joints.items():
        _draw_pose(left, skeleton, points[:, :2], points[:, 2], source, small=True)
    _draw_crop(right, frame)
    mirrored = ", mirrored" if frame.reader.views[frame.view] == "flipped" else ""
    right.set_title(f"crop that the detector saw{mirrored}")
    _in_px(right, "crop px")
    for source, (skeleton, points) in frame.joints.items():
        _draw_pose(right, skeleton, frame.in_crop(points[:, :2]), points[:, 2], source)
    _frame_crop(right, frame)
    figure.legend(handles=_legend(frame), loc="outside lower center", ncols=6, fontsize="small")


def draw_level(
    figure: SubFigure, axes: Axes, frame: Frame, level: LevelSpec, energy: NDArray[np.float32]
) -> None:
    """Draw a level's map `[H, W]` over the crop, with the detector's joints.

    Of a point cache, the joints themselves are drawn in the colours of their columns.
    """
    has_crop = _draw_crop(axes, frame, grey=True)
    drawn: ScalarMappable
    if frame.reader.spec.points is not None:
        x, y = frame.point_places().T
        drawn = axes.scatter(x, y, c=energy[0], cmap="inferno", vmin=0.0, edgecolors="white", s=40)
        size = f"{level.width} joints"
    else:
        half = level.stride / 2
        extent = (
            -half,
            level.width * level.stride - half,
            level.height * level.stride - half,
            -half,
        )
        drawn = axes.imshow(
            energy,
            extent=extent,
            cmap="inferno",
            vmin=0.0,
            alpha=_OVERLAY if has_crop else 1.0,
            interpolation="nearest",
        )
        if "detector" in frame.joints:
            x, y = frame.in_crop(frame.joints["detector"][1][:, :2]).T
            axes.plot(x, y, "o", color="white", markeredgecolor="black", markersize=2.6, mew=0.5)
        size = f"{level.height} x {level.width}"
    _frame_crop(axes, frame)
    _in_px(axes, "crop px")
    axes.set_title(f"{level.name}: {size}, {level.channels} channels", fontsize="small")
    bar = figure.colorbar(drawn, ax=axes, location="bottom", shrink=0.9, pad=0.02)
    bar.ax.tick_params(labelsize="x-small")
    bar.set_label("RMS of the features", fontsize="x-small")


def _draw_crop(axes: Axes, frame: Frame, *, grey: bool = False) -> bool:
    """Whether there is a crop to draw."""
    crop = frame.crop()
    if crop is None:
        axes.set_facecolor(_BLANK)
        axes.set_aspect("equal")
        return False
    if grey:
        axes.imshow(crop.mean(axis=-1), cmap="gray", vmin=0, vmax=255)
    else:
        axes.imshow(crop)
    return True


def _frame_crop(axes: Axes, frame: Frame) -> None:
    height, width = frame.crop_size
    axes.set_xlim(-0.5, width - 0.5)
    axes.set_ylim(height - 0.5, -0.5)


def _draw_pose(
    axes: Axes,
    skeleton: Skeleton,
    points: NDArray[np.float64],
    scores: NDArray[np.float64],
    source: str,
    *,
    small: bool = False,
) -> None:
    """Draw the bones between joints with a score; labels dashed, with hollow joints."""
    is_label, thin = source == _LABELS, 0.55 if small else 1.0
    for joint, parent, colour in bones(skeleton):
        if min(scores[joint], scores[parent]) <= 0:
            continue
        x, y = points[[joint, parent]].T
        if not is_label:
            axes.plot(x, y, color="white", linewidth=3.4 * thin)
        axes.plot(
            x,
            y,
            color="white" if is_label else colour,
            linestyle=(0, (2, 2)) if is_label else "-",
            linewidth=(1.2 if is_label else 2.0) * thin,
        )
    colours = dict.fromkeys(skeleton.left, LEFT) | dict.fromkeys(skeleton.right, RIGHT)
    for joint in np.flatnonzero(scores > 0).tolist():
        colour = colours.get(joint, MIDDLE)
        axes.plot(
            *points[joint],
            "o",
            markersize=(7.0 if is_label else 4.2) * thin,
            markerfacecolor="none" if is_label else colour,
            markeredgecolor="white",
            markeredgewidth=(1.3 if is_label else 0.6) * thin,
        )


def _legend(frame: Frame) -> list[Line2D]:
    handles = [
        Line2D([], [], color=colour, linewidth=2.4, label=label)
        for colour, label in ((LEFT, "person's left"), (RIGHT, "right"), (MIDDLE, "middle"))
    ]
    for source in frame.joints:
        is_label = source == _LABELS
        handles.append(
            Line2D(
                [],
                [],
                color=_LEGEND_GREY,
                linestyle="--" if is_label else "-",
                marker="o",
                markerfacecolor="none" if is_label else _LEGEND_GREY,
                label="labels (white)" if is_label else source,
            )
        )
    return [*handles, Line2D([], [], color="black", linewidth=1.2, label="crop")]


def _in_px(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize="x-small")
    axes.tick_params(labelsize="x-small")
