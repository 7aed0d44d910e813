"""Forward kinematics of the drawn person: angles of its degrees of freedom -> H36M-17 joints.

Body frame: x forward, y left, z up. World: z up, floor at z = 0. Millimetres and radians.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_TRUNK = (
    "root_yaw", "root_pitch", "root_roll",
    "spine_pitch", "spine_roll", "spine_yaw",
    "neck_pitch", "neck_roll", "neck_yaw",
)  # fmt: skip
_LIMB = (
    "shoulder_flexion", "shoulder_abduction", "shoulder_twist", "elbow_flexion",
    "hip_flexion", "hip_abduction", "hip_twist", "knee_flexion", "ankle_flexion",
)  # fmt: skip
DOFS: tuple[str, ...] = (
    *_TRUNK,
    *(f"left_{name}" for name in _LIMB),
    *(f"right_{name}" for name in _LIMB),
)
"""Names of the degrees of freedom, in the order of the columns of an angle array."""

_LIMITS_DEG = {
    "root_yaw": (-1e6, 1e6), "root_pitch": (-40, 80), "root_roll": (-40, 40),
    "spine_pitch": (-25, 80), "spine_roll": (-35, 35), "spine_yaw": (-45, 45),
    "neck_pitch": (-45, 50), "neck_roll": (-35, 35), "neck_yaw": (-70, 70),
    "shoulder_flexion": (-60, 175), "shoulder_abduction": (-20, 150),
    "shoulder_twist": (-80, 80), "elbow_flexion": (0, 145),
    "hip_flexion": (-30, 120), "hip_abduction": (-15, 50), "hip_twist": (-35, 40),
    "knee_flexion": (0, 140), "ankle_flexion": (-30, 40),
}  # fmt: skip


def joint_limits() -> tuple[Array, Array]:
    """Lower and upper limit of every degree of freedom, radians, each [DOF]."""
    bounds = [_LIMITS_DEG[name.removeprefix("left_").removeprefix("right_")] for name in DOFS]
    lower, upper = np.deg2rad(np.array(bounds, dtype=np.float64)).T
    return lower, upper


@dataclass(frozen=True)
class BoneLengths:
    """Bone lengths of one person, mm."""

    hip_half_width: float
    thigh: float
    shin: float
    foot: float
    lower_spine: float
    upper_spine: float
    neck: float
    head: float
    shoulder_half_width: float
    upper_arm: float
    forearm: float
    hand: float


@dataclass(frozen=True)
class BodyPose:
    """Where the body is in T frames: joints and the frames that its surface hangs on."""

    joints_mm: Array  # [T, 17, 3] world, H36M-17 order
    toes_mm: Array  # [T, 2, 3] left, right
    hands_mm: Array  # [T, 2, 3] finger tips, left, right
    pelvis: Array  # [T, 3, 3] columns: forward, left, up in the world
    chest: Array  # [T, 3, 3]
    skull: Array  # [T, 3, 3]
    thigh_front: Array  # [T, 2, 3] unit vectors, left, right
    shin_front: Array  # [T, 2, 3]


def _rotation(axis: int, angle: Array) -> Array:
    """Rotations [T, 3, 3] by `angle` [T] about one coordinate axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    first, second = ((1, 2), (2, 0), (0, 1))[axis]
    matrix = np.zeros((len(angle), 3, 3))
    matrix[:, axis, axis] = 1.0
    matrix[:, first, first] = matrix[:, second, second] = cosine
    matrix[:, first, second] = -sine
    matrix[:, second, first] = sine
    return matrix


def pose_body(angles: Array, bones: BoneLengths, position_mm: Array) -> BodyPose:
    """The body in the world for `angles` [T, DOF], on the floor at `position_mm` [T, 2]."""
    dof = {name: angles[:, column] for column, name in enumerate(DOFS)}
    pelvis = (
        _rotation(2, dof["root_yaw"])
        @ _rotation(1, dof["root_pitch"])
        @ _rotation(0, dof["root_roll"])
    )
    bend = (
        _rotation(2, dof["spine_yaw"] / 2)
        @ _rotation(1, dof["spine_pitch"] / 2)
        @ _rotation(0, dof["spine_roll"] / 2)
    )
    lumbar = pelvis @ bend
    chest = lumbar @ bend
    skull = (
        chest
        @ _rotation(2, dof["neck_yaw"])
        @ _rotation(1, dof["neck_pitch"])
        @ _rotation(0, dof["neck_roll"])
    )
    joints = np.zeros((len(angles), 17, 3))
    joints[:, 7] = lumbar @ (0.0, 0.0, bones.lower_spine)
    joints[:, 8] = joints[:, 7] + chest @ (0.0, 0.0, bones.upper_spine)
    joints[:, 9] = joints[:, 8] + skull @ (20.0, 0.0, bones.neck)
    joints[:, 10] = joints[:, 9] + skull @ (0.0, 0.0, bones.head)
    toes, hands, thigh_front, shin_front = np.zeros((4, len(angles), 2, 3))
    for side, sign, leg_joints, arm_joints in (
        ("left", 1.0, (4, 5, 6), (11, 12, 13)),
        ("right", -1.0, (1, 2, 3), (14, 15, 16)),
    ):
        index = 0 if side == "left" else 1
        hip, knee, ankle = leg_joints
        thigh = pelvis @ _limb_frame(dof, side, sign, "hip")
        shin = thigh @ _rotation(1, dof[f"{side}_knee_flexion"])
        thigh_front[:, index], shin_front[:, index] = thigh[..., 0], shin[..., 0]
        foot = shin @ _rotation(1, -dof[f"{side}_ankle_flexion"])
        joints[:, hip] = pelvis @ (0.0, sign * bones.hip_half_width, 0.0)
        joints[:, knee] = joints[:, hip] + thigh @ (0.0, 0.0, -bones.thigh)
        joints[:, ankle] = joints[:, knee] + shin @ (0.0, 0.0, -bones.shin)
        toes[:, index] = joints[:, ankle] + foot @ (bones.foot, 0.0, -30.0)
        shoulder, elbow, wrist = arm_joints
        upper_arm = chest @ _limb_frame(dof, side, sign, "shoulder")
        forearm = upper_arm @ _rotation(1, -dof[f"{side}_elbow_flexion"])
        joints[:, shoulder] = joints[:, 8] + chest @ (0.0, sign * bones.shoulder_half_width, -15.0)
        joints[:, elbow] = joints[:, shoulder] + upper_arm @ (0.0, 0.0, -bones.upper_arm)
        joints[:, wrist] = joints[:, elbow] + forearm @ (0.0, 0.0, -bones.forearm)
        hands[:, index] = joints[:, wrist] + forearm @ (0.0, 0.0, -bones.hand)
    offset = np.zeros((len(angles), 1, 3))
    offset[:, 0, :2] = position_mm
    lowest = np.minimum(joints[:, (3, 6), 2].min(axis=1) - 60.0, toes[..., 2].min(axis=1) - 40.0)
    offset[:, 0, 2] = -np.minimum(lowest, joints[..., 2].min(axis=1) - 110.0)
    return BodyPose(
        joints + offset,
        toes + offset,
        hands + offset,
        pelvis,
        chest,
        skull,
        thigh_front,
        shin_front,
    )


def _limb_frame(dof: dict[str, Array], side: str, sign: float, joint: str) -> Array:
    """Frame of a thigh or upper arm in its parent: flexion swings it forward, abduction outward."""
    return (
        _rotation(1, -dof[f"{side}_{joint}_flexion"])
        @ _rotation(0, sign * dof[f"{side}_{joint}_abduction"])
        @ _rotation(2, sign * dof[f"{side}_{joint}_twist"])
    )
