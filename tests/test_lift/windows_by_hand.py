"""A store with gaps, and its windows as plain loops over the reader find them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cache import CacheReader, FrameStatus, WindowShape
from cache.skeletons import H36M17
from stages.lift import DataConfig
from stages.lift.feed.batches import LiftData
from stages.lift.feed.inputs import FLIPPED
from stages.lift.feed.windows import Windowing
from stages.lift.processes.world import World
from tests.test_cache.windows_by_hand import window_by_hand
from tests.test_lift.stores import CROP_SIZE, IMAGE_SIZE, build_plan, write_store

NAMES = ("x8", "x16")
SPLITS = {"train": 26, "validation": 9, "test": 13}
CLIP = 10  # frames; the last clip of a split is shorter
BAD_ROWS = {4: FrameStatus.NO_PERSON, 20: FrameStatus.MISSING, 38: FrameStatus.MISSING}
NO_ROOT_LABEL = (7, 12, 40)  # inputs, but no samples
SHAPES = [
    WindowShape(1),
    WindowShape(3),
    WindowShape(9),
    WindowShape(27),
    WindowShape(3, step=2),
    WindowShape(4, causal=True),
]


def write_gappy(path: Path, **options: Any) -> CacheReader:
    """A store with rows that cannot be used, rows without labels, and joints without."""
    valid = np.random.default_rng(2).random((sum(SPLITS.values()), 17)) < 0.8
    valid[:, 0] = True
    valid[SPLITS["train"] :] = True
    valid[list(NO_ROOT_LABEL)] = False
    plan = build_plan(SPLITS, clip_length=CLIP, valid=valid)
    return write_store(path, plan=plan, status=BAD_ROWS, **options)


def windowed(
    reader: CacheReader,
    split: str = "train",
    *,
    shape: WindowShape,
    predicts_all: bool = False,
    levels: Sequence[str] = NAMES,
    flipped: bool = True,
    world: World | None = None,
    complete_labels: bool = False,
    **options: Any,
) -> LiftData:
    return LiftData(
        reader,
        split,
        config=DataConfig.model_validate(options),
        level_names=levels,
        flipped=flipped,
        windowing=Windowing(shape, predicts_all),
        world=world or World.alone(),
        complete_labels=complete_labels,
    )


@cache
def usable_clips(reader: CacheReader, split: str) -> list[list[int]]:
    """Rows that can be used, by clip."""
    splits, clips = reader.index("split"), reader.index("clip").codes
    code = (splits.vocabulary or ()).index(split)
    rows = [
        row
        for row in np.flatnonzero(splits.codes == code).tolist()
        if reader.status()[row] == FrameStatus.OK
    ]
    found = sorted({int(clips[row]) for row in rows}, key=[int(clips[row]) for row in rows].index)
    return [[row for row in rows if clips[row] == clip] for clip in found]


@cache
def window_rows_by_hand(
    reader: CacheReader, split: str, row: int, shape: WindowShape
) -> tuple[list[int], list[bool]]:
    clips, numbers = usable_clips(reader, split), reader.index("frame").codes
    rows = [row for clip in clips for row in clip]
    frames = [[int(numbers[row]) for row in clip] for clip in clips]
    positions, real = window_by_hand(frames, rows.index(row), shape)
    return [rows[position] for position in positions], real


@cache
def frame_by_hand(reader: CacheReader, row: int, view: int) -> dict[str, np.ndarray]:
    """Inputs and labels of one frame of one view, in float64."""
    height, width = IMAGE_SIZE
    px = reader.keypoints("detector", view=view)[row, :, :2].astype(np.float64)
    screen = px / width * 2 - [1, height / width]
    affine = reader.affine(view=view)[row]
    unit = (px @ affine[:, :2].T + affine[:, 2]) / (np.array(CROP_SIZE[::-1]) / 2) - 1
    joints_mm = reader.labels("joints_3d_mm")[row].astype(np.float64)
    target_m = (joints_mm - joints_mm[0]) / 1000
    valid = reader.labels("valid")[row] & reader.labels("valid")[row, 0]
    if view == FLIPPED:
        swap = H36M17.swap
        screen, target_m = screen[swap] * [-1, 1], target_m[swap] * [-1, 1, 1]
        unit, valid = unit[swap], valid[swap]
    maps = reader.read([row], levels=NAMES, view=view)
    return {
        "keypoints": screen,
        "reference": unit,
        "target": target_m,
        "valid": valid,
        **{name: maps[name][0] for name in NAMES},
    }


def close(found: Tensor, expected: np.ndarray) -> None:
    np.testing.assert_allclose(found.numpy(), expected, atol=2e-6)


class Spying(CacheReader):
    """Notes the rows and views that are read."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.seen: list[tuple[int, int]] = []

    def read(self, rows: Any, *, view: Any = 0, **options: Any) -> dict[str, Any]:
        views = np.broadcast_to(view, len(rows))
        self.seen += zip(np.asarray(rows).tolist(), views.tolist(), strict=True)
        return super().read(rows, view=view, **options)
