"""What the drawn people do: each action is ranges for random key poses plus periodic swings.

Angles between key poses are eased with a cosine, so motion is smooth; the result is clipped to the
limits of the joints. One side of the body leads, left or right by chance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.kinematics import DOFS, joint_limits

Array = NDArray[np.float64]
Range = tuple[float, float]

_REST_DEG: dict[str, Range] = {
    "root_yaw": (-25, 25), "root_pitch": (-5, 8), "root_roll": (-4, 4),
    "spine_pitch": (-5, 15), "spine_roll": (-8, 8), "spine_yaw": (-15, 15),
    "neck_pitch": (-15, 25), "neck_roll": (-10, 10), "neck_yaw": (-35, 35),
    "shoulder_flexion": (-20, 30), "shoulder_abduction": (3, 25),
    "shoulder_twist": (-20, 40), "elbow_flexion": (5, 45),
    "hip_flexion": (-8, 15), "hip_abduction": (0, 12), "hip_twist": (-10, 15),
    "knee_flexion": (0, 15), "ankle_flexion": (-8, 8),
}  # fmt: skip


@dataclass(frozen=True)
class Swing:
    """A periodic part of one angle: `amplitude_deg * sin(harmonic * phase + offset)`."""

    amplitude_deg: float
    harmonic: int = 1
    offset_deg: float = 0.0
    lag_deg: float = 180.0
    """How far the trailing side is behind the leading side."""


@dataclass(frozen=True)
class Action:
    """Ranges of the random key poses, degrees; `lead` overrides them on the leading side."""

    both: Mapping[str, Range] = field(default_factory=dict)
    lead: Mapping[str, Range] = field(default_factory=dict)
    swings: Mapping[str, Swing] = field(default_factory=dict)
    period_s: Range = (1.0, 1.6)
    key_interval_s: Range = (0.5, 1.0)
    speed_mm_s: Range = (0.0, 0.0)
    turn_deg_s: Range = (0.0, 0.0)
    stool: bool = False


_FREE_ARM: dict[str, Range] = {
    "shoulder_flexion": (-60, 165), "shoulder_abduction": (-10, 130),
    "shoulder_twist": (-60, 80), "elbow_flexion": (0, 125),
}  # fmt: skip

ACTIONS: dict[str, Action] = {
    "Walking": Action(
        both={"elbow_flexion": (10, 50), "knee_flexion": (18, 30), "hip_flexion": (5, 12)},
        swings={
            "hip_flexion": Swing(28),
            "knee_flexion": Swing(25, offset_deg=70),
            "shoulder_flexion": Swing(26, offset_deg=180),
            "spine_yaw": Swing(8),
        },
        speed_mm_s=(600, 1200),
    ),
    "Reaching": Action(
        both={**_FREE_ARM, "spine_yaw": (-35, 35), "spine_pitch": (-10, 40)},
    ),
    "ReachingBehind": Action(
        both={"spine_yaw": (-45, 45), "spine_pitch": (-20, 25), "neck_yaw": (-60, 60)},
        lead={
            "shoulder_flexion": (-60, -10), "shoulder_abduction": (0, 70),
            "shoulder_twist": (-60, 80), "elbow_flexion": (0, 110),
        },
    ),
    "Sitting": Action(
        both={
            "hip_flexion": (70, 100), "knee_flexion": (60, 110), "hip_abduction": (0, 28),
            "shoulder_flexion": (0, 85), "elbow_flexion": (10, 115), "root_pitch": (-15, 12),
            "spine_pitch": (-5, 35), "shoulder_twist": (-30, 70),
        },
        stool=True,
    ),
    "Waving": Action(
        lead={
            "shoulder_flexion": (20, 110), "shoulder_abduction": (50, 140),
            "elbow_flexion": (40, 90),
        },
        swings={"elbow_flexion": Swing(25, harmonic=2)},
        period_s=(1.0, 2.0),
    ),
    "Squatting": Action(
        both={
            "hip_flexion": (40, 60), "knee_flexion": (55, 70), "shoulder_flexion": (20, 110),
            "spine_pitch": (5, 35), "hip_abduction": (5, 25), "ankle_flexion": (10, 25),
        },
        swings={
            "hip_flexion": Swing(42, lag_deg=0),
            "knee_flexion": Swing(52, lag_deg=0),
            "ankle_flexion": Swing(12, lag_deg=0),
        },
        period_s=(1.6, 2.6),
    ),
    "Turning": Action(
        both={"shoulder_flexion": (-40, 60), "shoulder_abduction": (0, 80)},
        turn_deg_s=(60, 160),
    ),
    "Bending": Action(
        both={
            "spine_pitch": (10, 75), "root_pitch": (5, 45), "shoulder_flexion": (10, 130),
            "knee_flexion": (0, 50), "hip_flexion": (0, 40), "spine_yaw": (-30, 30),
        },
    ),
    "Boxing": Action(
        both={
            "shoulder_flexion": (20, 95), "shoulder_abduction": (-5, 50),
            "elbow_flexion": (15, 140), "hip_flexion": (-15, 30), "knee_flexion": (5, 40),
            "spine_yaw": (-35, 35), "shoulder_twist": (-30, 60),
        },
        key_interval_s=(0.3, 0.6),
    ),
    "Lunging": Action(
        both={"hip_flexion": (-30, 5), "knee_flexion": (0, 45), "shoulder_flexion": (-40, 90)},
        lead={"hip_flexion": (20, 95), "knee_flexion": (20, 100)},
    ),
    "Kicking": Action(
        both={"shoulder_abduction": (10, 80), "shoulder_flexion": (-40, 60)},
        lead={"hip_flexion": (-30, 100), "knee_flexion": (0, 95), "hip_abduction": (-5, 45)},
        key_interval_s=(0.4, 0.8),
    ),
    "Phoning": Action(
        both={"hip_flexion": (-10, 20), "spine_yaw": (-25, 25)},
        lead={
            "shoulder_flexion": (20, 60), "shoulder_abduction": (20, 60),
            "elbow_flexion": (115, 143),
        },
        speed_mm_s=(0, 500),
    ),
    "Dancing": Action(
        both={
            **_FREE_ARM, "hip_flexion": (-25, 60), "hip_abduction": (-5, 40),
            "knee_flexion": (0, 80), "spine_roll": (-25, 25), "spine_yaw": (-35, 35),
        },
        turn_deg_s=(-90, 90),
        key_interval_s=(0.4, 0.8),
    ),
}  # fmt: skip
"""Action name -> how it moves; names follow Human3.6M's where the movement does."""


def _range_of(action: Action, dof: str, leading: str) -> Range:
    side, _, name = dof.partition("_")
    if side not in ("left", "right"):
        return action.both.get(dof, _REST_DEG[dof])
    if side == leading and name in action.lead:
        return action.lead[name]
    return action.both.get(name, _REST_DEG[name])


def _swing_of(action: Action, dof: str) -> Swing | None:
    return action.swings.get(dof.removeprefix("left_").removeprefix("right_"))


def _key_poses(
    lower: Array, upper: Array, times_s: Array, interval_s: float, rng: np.random.Generator
) -> Array:
    """Angles [T, DOF] eased between random key poses, one each `interval_s`."""
    count = int(np.ceil(times_s[-1] / interval_s)) + 2
    keys = lower + (upper - lower) * rng.beta(0.8, 0.8, size=(count, len(lower)))
    place = times_s / interval_s
    left = np.floor(place).astype(int)
    ease = (0.5 - 0.5 * np.cos(np.pi * (place - left)))[:, None]
    mixed: Array = keys[left] * (1 - ease) + keys[left + 1] * ease
    return mixed


def move(action: Action, times_s: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Angles [T, DOF] in radians and floor positions [T, 2] in mm at `times_s` [T], from 0 up."""
    leading = "left" if rng.random() < 0.5 else "right"
    ranges = np.deg2rad([_range_of(action, dof, leading) for dof in DOFS])
    interval_s = rng.uniform(*action.key_interval_s)
    angles = _key_poses(ranges[:, 0], ranges[:, 1], times_s, interval_s, rng)
    phase = 2 * np.pi * (times_s / rng.uniform(*action.period_s) + rng.random())
    for column, dof in enumerate(DOFS):
        swing = _swing_of(action, dof)
        if swing is not None:
            lag = 0.0 if dof.startswith(leading) else swing.lag_deg
            shift = np.deg2rad(swing.offset_deg + lag)
            angles[:, column] += np.deg2rad(swing.amplitude_deg) * np.sin(
                swing.harmonic * phase + shift
            )
    yaw = DOFS.index("root_yaw")
    turn = np.deg2rad(rng.uniform(*action.turn_deg_s)) * rng.choice((-1.0, 1.0))
    angles[:, yaw] += rng.uniform(-np.pi, np.pi) + turn * times_s
    heading = angles[:, yaw].mean()
    travelled = rng.uniform(*action.speed_mm_s) * (times_s - times_s.mean())
    position = rng.uniform(-350, 350, size=2) + travelled[:, None] * (
        np.cos(heading),
        np.sin(heading),
    )
    return np.clip(angles, *joint_limits()), position
