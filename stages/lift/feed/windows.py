"""Which frames a lifter of windows reads for a sample, and which of them it predicts."""

from __future__ import annotations

from dataclasses import dataclass

from cache import WindowShape
from lifter import LIFTERS
from lifter.config import LifterConfig
from stages.lift.config import DataConfig


@dataclass(frozen=True)
class Windowing:
    """The windows that a lifter reads."""

    shape: WindowShape
    predicts_all: bool  # every frame of a window, or its target only


def windowing_of(lifter: LifterConfig, data: DataConfig) -> Windowing | None:
    """Returns the windows that this lifter reads; None if it lifts single frames."""
    kind = LIFTERS[lifter.name]
    if not kind.reads_windows:
        return None
    shape = WindowShape(lifter.num_frames, causal=lifter.causal, step=data.frame_step)
    return Windowing(shape, kind.predicts_windows)
