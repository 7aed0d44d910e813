"""Boxes that are off: shifted and of another size, as those of a person detector are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cache import RowPlan
from stages.extract.crops import BoxSource, box_for_row
from stages.extract.degrading.draws import generator_of


def jitter_box(
    box: NDArray[np.float64],  # [4] x1, y1, x2, y2
    strength: float,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # [4]
    """Returns the box with its centre moved and its size changed.

    The centre moves by up to `strength` of the box's width and height, uniform in each; both sides
    are multiplied by (1 + strength)^u, u uniform in -1..1. Strength 0 returns an equal box.
    """
    shift, size = rng.uniform(-1.0, 1.0, 2), rng.uniform(-1.0, 1.0)
    if strength == 0.0:
        return box.copy()
    sides = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2.0 + strength * shift * sides
    half = sides / 2.0 * (1.0 + strength) ** size
    return np.concatenate([centre - half, centre + half])


def jittered_plan(
    plan: RowPlan, rows: Sequence[int], source: BoxSource, strength: float, *, seed: int
) -> RowPlan:
    """Returns the plan with the boxes of `rows`, as `source` has them, jittered.

    They are its `boxes_px`, to be read with the box source `imported`; other rows have none that
    could be used. Raises FrameError for a row without a box.
    """
    boxes = np.zeros((len(plan), 4), dtype=np.float32)
    for row in rows:
        rng = generator_of(seed, "jitter", row)
        boxes[row] = jitter_box(box_for_row(plan, row, source), strength, rng)
    return replace(plan, boxes_px=boxes)
