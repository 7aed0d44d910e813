"""The learning rate of every step, as a pure function of the step."""

from __future__ import annotations

import math

from stages.lift.config import TrainConfig

ONECYCLE_RISE = 0.3
ONECYCLE_START = 1.0 / 25.0
ONECYCLE_END = ONECYCLE_START * 1e-4


def lr_factor(step: int, *, config: TrainConfig, steps_per_epoch: int, num_steps: int) -> float:
    """Factor on the peak learning rate at `step` (counted from 0) of `num_steps`.

    `exponential` decays per epoch; `cosine` falls to 0 at the end; `onecycle` has the course of
    torch's OneCycleLR with its default settings (rise over 30 %, start 1/25, end 1/250000).
    """
    warmup = min(1.0, (step + 1) / config.warmup_steps) if config.warmup_steps else 1.0
    return warmup * _course(step, config, steps_per_epoch, num_steps)


def _course(step: int, config: TrainConfig, steps_per_epoch: int, num_steps: int) -> float:
    if config.schedule == "exponential":
        return math.pow(config.lr_decay, step // steps_per_epoch)
    if config.schedule == "cosine":
        return _cosine(1.0, 0.0, step / num_steps)
    if config.schedule == "onecycle":
        rise = ONECYCLE_RISE * num_steps - 1
        if step <= rise:
            return _cosine(ONECYCLE_START, 1.0, step / rise if rise > 0 else 1.0)
        fall = num_steps - 1 - rise
        return _cosine(1.0, ONECYCLE_END, (step - rise) / fall if fall > 0 else 1.0)
    return 1.0


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) * (1.0 + math.cos(math.pi * fraction)) / 2.0
