"""Pictures of a run: its curves, and its best, median and worst frames."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from cache import CacheReader, Skeleton
from stages.lift.runs.rundir import write_bytes

if TYPE_CHECKING:
    from stages.lift.evaluation import Evaluation

LoadImage = Callable[[int], NDArray[np.uint8]]  # row of the store -> [H, W, 3] RGB
LEFT, RIGHT, MIDDLE, TRUTH = "#d95f02", "#1f78b4", "#333333", "#9a9a9a"
_BOX_MARGIN = 0.25
_DPI = 110


def plot_curves(histories: Mapping[str, Sequence[Mapping[str, Any]]], path: Path) -> None:
    """Writes loss, validation error and learning rate over the epochs, one colour per run."""
    figure = Figure(figsize=(9.0, 6.5), layout="constrained")
    errors, rates = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for index, (name, history) in enumerate(histories.items()):
        colour = f"C{index % 10}"
        epochs = [entry["epoch"] for entry in history]
        losses = [entry["loss_mm"] for entry in history]
        errors.plot(epochs, losses, "--", color=colour, label=f"{name}: training loss")
        validated = [e for e in history if e["validation_mpjpe_mm"] is not None]
        if validated:
            errors.plot(
                [e["epoch"] for e in validated],
                [e["validation_mpjpe_mm"] for e in validated],
                "-",
                color=colour,
                marker="." if len(validated) < 60 else None,
                label=f"{name}: validation MPJPE",
            )
        best = [e for e in validated if e["best"]]
        if best:
            errors.plot(
                best[-1]["epoch"],
                best[-1]["validation_mpjpe_mm"],
                "o",
                color=colour,
                markerfacecolor="none",
                markersize=9,
                label=f"{name}: kept, epoch {best[-1]['epoch']},"
                f" {best[-1]['validation_mpjpe_mm']:.1f} mm",
            )
        rates.plot(epochs, [e["lr"] for e in history], color=colour)
    errors.set_ylabel("mm")
    errors.set_ylim(bottom=0)
    errors.legend(fontsize="small")
    rates.set_ylabel("learning rate")
    rates.set_xlabel("epoch")
    rates.ticklabel_format(axis="y", style="sci", scilimits=(-2, 2))
    for axes in (errors, rates):
        axes.grid(alpha=0.3)
    save_figure(figure, path)


def plot_frames(
    evaluation: Evaluation,
    reader: CacheReader,
    load_image: LoadImage,
    path: Path,
) -> tuple[int, int, int]:
    """Writes the best, median and worst frame of a split; returns their rows in the store.

    Each line shows the picture with the 2D joints that the lifter saw, the true pose and the
    predicted pose over the true one, in mm of the camera frame, upright. The person's left is
    orange, the right blue. Picture errors are those of `load_image`.
    """
    error_mm, skeleton = evaluation.frame_mpjpe_mm, reader.label_skeleton
    order = np.argsort(error_mm, kind="stable")
    chosen = {"best": order[0], "median": order[len(order) // 2], "worst": order[-1]}
    figure = Figure(figsize=(11.0, 11.5), layout="constrained")
    # Axis labels of 3D axes are not part of what the layout reckons with.
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0.0, 0.02, 1.0, 0.98))  # type: ignore[call-arg]
    figure.suptitle(
        f"{evaluation.split}: left orange, right blue; 2D joints: {evaluation.keypoint_source}"
    )
    for line, (name, sample) in enumerate(chosen.items()):
        row = int(evaluation.rows[sample])
        true_mm, predicted_mm = evaluation.true_mm[sample], evaluation.predicted_mm[sample]
        picture = figure.add_subplot(3, 3, 3 * line + 1)
        _draw_picture(picture, load_image(row), evaluation.keypoints_px[sample], skeleton)
        picture.set_title(
            f"{name}: {error_mm[sample]:.1f} mm\n{describe_row(reader, row)}", fontsize="small"
        )
        reach_mm = float(np.abs(np.concatenate([true_mm, predicted_mm])).max()) * 1.05
        for column, (title, pose_mm) in enumerate(
            {"true": true_mm, "predicted (true in grey)": predicted_mm}.items()
        ):
            axes = figure.add_subplot(3, 3, 3 * line + 2 + column, projection="3d")
            if column:
                _draw_pose(axes, true_mm, skeleton, colour=TRUTH)
            _draw_pose(axes, pose_mm, skeleton)
            _frame_pose(axes, reach_mm)
            axes.set_title(title, fontsize="small")
    save_figure(figure, path)
    best, median, worst = (int(evaluation.rows[sample]) for sample in chosen.values())
    return best, median, worst


def describe_row(reader: CacheReader, row: int) -> str:
    """Returns who, what, camera and frame of a row, as far as the store names them."""
    words = []
    for name in ("subject", "action", "camera", "frame"):
        column = reader.index(name)
        code = int(column.codes[row])
        words.append(column.vocabulary[code] if column.vocabulary else f"{name} {code}")
    return " ".join(words)


def bones(skeleton: Skeleton) -> list[tuple[int, int, str]]:
    """Returns pairs (joint, parent) with the colour of the joint's side."""
    colours = dict.fromkeys(skeleton.left, LEFT) | dict.fromkeys(skeleton.right, RIGHT)
    return [
        (joint, parent, colours.get(joint, MIDDLE))
        for joint, parent in enumerate(skeleton.parents)
        if parent >= 0
    ]


def _draw_picture(
    axes: Any, image: NDArray[np.uint8], keypoints_px: NDArray[np.float32], skeleton: Skeleton
) -> None:
    axes.imshow(image)
    for joint, parent, colour in bones(skeleton):
        x, y = keypoints_px[[joint, parent]].T
        axes.plot(x, y, color="white", linewidth=3.2)
        axes.plot(x, y, color=colour, linewidth=1.8)
    axes.plot(*keypoints_px.T, "o", color="white", markeredgecolor="black", markersize=3.5)
    low, high = keypoints_px.min(axis=0), keypoints_px.max(axis=0)
    centre, half = (low + high) / 2, (high - low).max() * (0.5 + _BOX_MARGIN)
    height, width = image.shape[:2]
    axes.set_xlim(max(centre[0] - half, -0.5), min(centre[0] + half, width - 0.5))
    axes.set_ylim(min(centre[1] + half, height - 0.5), max(centre[1] - half, -0.5))
    axes.set_xticks([])
    axes.set_yticks([])


def _draw_pose(
    axes: Any, pose_mm: NDArray[np.float64], skeleton: Skeleton, *, colour: str | None = None
) -> None:
    # The camera looks along +z with y downwards; matplotlib's third axis points up.
    x, depth, up = pose_mm[:, 0], pose_mm[:, 2], -pose_mm[:, 1]
    for joint, parent, side in bones(skeleton):
        pair = [joint, parent]
        axes.plot(
            x[pair],
            depth[pair],
            up[pair],
            color=colour or side,
            linewidth=1.2 if colour else 2.2,
            linestyle="--" if colour else "-",
        )


def _frame_pose(axes: Any, reach_mm: float) -> None:
    axes.set_xlim(-reach_mm, reach_mm)
    axes.set_ylim(-reach_mm, reach_mm)
    axes.set_zlim(-reach_mm, reach_mm)
    axes.set_box_aspect((1, 1, 1), zoom=1.0)
    ticks_mm = [tick for tick in (-1000, -500, 0, 500, 1000) if abs(tick) <= reach_mm]
    for set_ticks in (axes.set_xticks, axes.set_yticks, axes.set_zticks):
        set_ticks(ticks_mm)
    # From the side, so that depth, which is what a lifter adds, can be seen.
    axes.view_init(elev=12, azim=-60)
    axes.set_xlabel("x [mm]", fontsize="x-small", labelpad=-4)
    axes.set_ylabel("depth [mm]", fontsize="x-small", labelpad=-4)
    axes.tick_params(labelsize="xx-small", pad=-2)


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG, whole or not at all."""
    # Without pyplot there is no global state and no display is looked for.
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=_DPI)
    write_bytes(path, buffer.getvalue())
