"""What the degradations look like: one frame at every strength, with the 2D joints lifted."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from cache import Skeleton
from pipeline.figure_files import write_figure
from pipeline.robustness.degradations import CLEAN, DEGRADATIONS, Variant
from pipeline.robustness.files import entries_by_variant
from pipeline.robustness.lifting import degraded_dataset
from pipeline.robustness.study import Study
from stages.lift.figures import bones

EXAMPLES_FILE = "examples.png"
_DPI = 100
_PANEL_INCHES, _TITLE_INCHES = 1.55, 0.42
_MARGIN = 0.25  # of each side of the box


def draw_examples(study: Study, result: Mapping[str, Any], path: Path) -> None:
    """Write the picture: a line per degradation, strengths from left to right.

    Shown are the joints of the labels' set, as made from what the detector found, and the box that
    was cut out. Raises UnwritableTarget.
    """
    entries = entries_by_variant(result)
    lines = [
        [v for v in entries if v.degradation == each.name and entries[v]["example"]]
        for each in DEGRADATIONS
    ]
    lines = [[CLEAN, *line] for line in lines if line]
    if not lines or not entries[CLEAN]["example"]:
        return
    columns = max(map(len, lines))
    row_size = study.plan.image_size[result["example_row"]]
    around = _around(entries[CLEAN]["example"]["box_px"], row_size)
    height = _PANEL_INCHES * min(2.0, (around[3] - around[1]) / (around[2] - around[0]))
    figure = Figure(
        figsize=(_PANEL_INCHES * columns, (height + _TITLE_INCHES) * len(lines) + _TITLE_INCHES),
        layout="constrained",
    )
    figure.suptitle("one frame at every strength; 2D errors are means of all frames", fontsize=9)
    panels = figure.subplots(len(lines), columns, squeeze=False)
    for line, row in zip(lines, panels, strict=True):
        for panel in row:
            panel.set_axis_off()
        for variant, panel in zip(line, row, strict=False):
            entry = entries[variant]
            picture = degraded_dataset(study, variant).load_image(result["example_row"])
            _draw(panel, picture, entry["example"], study.reader.label_skeleton, around)
            shown = "undegraded" if variant == CLEAN else _label(variant)
            error = entry["error_2d_px"]["mean"]
            panel.set_title(f"{shown}\n2D error {error:.1f} px", fontsize=8)
    write_figure(figure, path, dpi=_DPI)


def _label(variant: Variant) -> str:
    sign = "/" if variant.degradation == "resolution" else ""
    return f"{variant.degradation} {sign}{variant.strength:g}"


def _around(
    box_px: list[float],
    image_size: NDArray[np.int32],  # [2] (H, W)
) -> tuple[float, float, float, float]:
    left, top, right, bottom = box_px
    across, down = _MARGIN * (right - left), _MARGIN * (bottom - top)
    height, width = image_size
    return (
        max(left - across, -0.5),
        max(top - down, -0.5),
        min(right + across, float(width) - 0.5),
        min(bottom + down, float(height) - 0.5),
    )


def _draw(
    panel: Axes,
    picture: NDArray[np.uint8],
    example: Mapping[str, Any],
    skeleton: Skeleton,
    around: tuple[float, float, float, float],
) -> None:
    panel.imshow(picture)
    joints = np.array(example["joints_px"])
    for joint, parent, colour in bones(skeleton):
        x, y = joints[[joint, parent]].T
        panel.plot(x, y, color="white", lw=2.4)
        panel.plot(x, y, color=colour, lw=1.3)
    left, top, right, bottom = example["box_px"]
    panel.add_patch(
        Rectangle((left, top), right - left, bottom - top, fill=False, color="#f2c14e", lw=1.0)
    )
    panel.set_xlim(around[0], around[2])
    panel.set_ylim(around[3], around[1])
