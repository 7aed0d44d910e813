"""Every registered lifter in a small size, and inputs that it reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lifter import LIFTERS, Lifter, build_lifter
from lifter.models.base import Outputs, prediction

LEVELS = ((6, 8, 6), (8, 4, 3))  # C, H, W, finest first: strides 8 and 16 of a crop of 64 x 48
NUM_FRAMES = 3
OPTIONS: dict[str, dict[str, Any]] = {
    # Batch statistics and dropout of half of 1024 units learn 8 samples by heart slowly.
    "simple_baseline": {"dropout": 0.0},
    "videopose3d": {"dropout": 0.0},
}
"""Options of a lifter's own, where its default is too large or too noisy for a unit test."""


SIZES: dict[str, dict[str, Any]] = {"mixste": {"token_width": 32}}
"""Sizes where those of `small` make a lifter too large for a unit test."""


@dataclass(frozen=True)
class Inputs:
    """What a lifter is called with, and what it should answer."""

    keypoints_2d: Tensor  # [B, (F,) J, 2]
    reference_points: Tensor  # [R, J, 2]
    levels: list[Tensor] | None  # L x [R, H, W, C]
    window_rows: Tensor | None  # [B, F]
    target_m: Tensor  # [B, (F,) J, 3]

    def answer(self, model: Lifter, **changes: Any) -> Outputs:
        mine = replace(self, **changes) if changes else self
        output: Outputs = model(
            mine.keypoints_2d, mine.reference_points, mine.levels, window_rows=mine.window_rows
        )
        return output

    def predict(self, model: Lifter, **changes: Any) -> Tensor:
        model.eval()
        with torch.no_grad():
            return prediction(self.answer(model, **changes)).detach()


def names() -> list[str]:
    return sorted(LIFTERS)


def with_features() -> list[str]:
    return [name for name in names() if LIFTERS[name].uses_features]


def without_features() -> list[str]:
    return [name for name in names() if not LIFTERS[name].uses_features]


def windowed() -> list[str]:
    return [name for name in names() if LIFTERS[name].reads_windows]


def small(name: str, *, num_joints: int = 17, seed: int = 0, **changes: Any) -> Lifter:
    torch.manual_seed(seed)
    kind = LIFTERS[name]
    sizes = {
        "width": 16,
        "depth": 1,
        "num_heads": 2,
        "deform_heads": 2,
        "num_points": 2,
        "drop_path": 0.0,
        "num_frames": NUM_FRAMES if kind.reads_windows else 1,
    }
    return build_lifter(
        name,
        level_channels=[level[0] for level in LEVELS] if kind.uses_features else (),
        num_joints=num_joints,
        options=OPTIONS.get(name, {}),
        **{**sizes, **SIZES.get(name, {}), **changes},
    )


def inputs(name: str, *, batch: int = 8, num_joints: int = 17, seed: int = 1) -> Inputs:
    """Returns people of random pose; with windows, frames that no two windows share.

    x and y of a pose follow from its keypoints, z is random: what there is to learn by heart.
    """
    kind = LIFTERS[name]
    made = torch.Generator().manual_seed(seed)
    window = (NUM_FRAMES,) if kind.reads_windows else ()
    rows = batch * NUM_FRAMES if kind.reads_windows else batch
    predicted = window if kind.predicts_windows else ()
    keypoints_2d = torch.rand(batch, *window, num_joints, 2, generator=made) * 2 - 1
    seen = keypoints_2d if predicted or not window else keypoints_2d[:, NUM_FRAMES // 2]
    depth_m = torch.randn(*seen.shape[:-1], 1, generator=made) * 0.2
    target_m = torch.cat((0.5 * seen, depth_m), dim=-1)
    target_m = target_m - target_m[..., :1, :]
    levels = [torch.randn(rows, h, w, c, generator=made) for c, h, w in LEVELS]
    uses_rows = kind.reads_windows and kind.uses_features
    return Inputs(
        keypoints_2d=keypoints_2d,
        reference_points=torch.rand(rows, num_joints, 2, generator=made) * 1.6 - 0.8,
        levels=levels if kind.uses_features else None,
        window_rows=torch.arange(rows).view(batch, NUM_FRAMES) if uses_rows else None,
        target_m=target_m,
    )
