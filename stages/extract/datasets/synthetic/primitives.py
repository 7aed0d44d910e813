"""The surface of a person: round cones (two spheres and their hull) hung on the joints."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.kinematics import BodyPose
from stages.extract.datasets.synthetic.people import Clothes, Colour, Person

Array = NDArray[np.float64]


class Pattern(IntEnum):
    """How the colour of a cone varies over its surface."""

    PLAIN = 0
    STRIPES = 1
    """Two colours in rings along the axis."""
    FACE = 2
    """First colour in front of the head, second on its back and top, dark eyes."""


@dataclass(frozen=True)
class RoundCones:
    """P cones in one frame: ends `start`, `end` [P, 3] mm, radii [P] mm, colours [P, 3]."""

    start: Array
    end: Array
    start_radius: Array
    end_radius: Array
    colour: NDArray[np.float32]
    second_colour: NDArray[np.float32]
    pattern: NDArray[np.int64]
    front: Array
    """[P, 3] unit vectors; where the normal is within `front_cut` of it, `front_colour` is seen."""
    front_cut: Array
    """[P] smallest cosine; above 1: no such panel."""
    front_colour: NDArray[np.float32]
    stripe_mm: float
    head_axes: Array
    """[3, 3] columns: forward, left, up of the head."""

    def shape_of(self, index: int | slice) -> tuple[Array, Array, Array, Array]:
        """Ends and radii of one cone or of a slice of them."""
        return (
            self.start[index],
            self.end[index],
            self.start_radius[index],
            self.end_radius[index],
        )

    def in_frame(self, rotation: Array, translation: Array) -> RoundCones:
        """The same cones in the frame `X' = rotation X + translation`."""
        return RoundCones(
            self.start @ rotation.T + translation,
            self.end @ rotation.T + translation,
            self.start_radius,
            self.end_radius,
            self.colour,
            self.second_colour,
            self.pattern,
            self.front @ rotation.T,
            self.front_cut,
            self.front_colour,
            self.stripe_mm,
            rotation @ self.head_axes,
        )


_NO_PANEL = (np.zeros(3), 2.0, np.zeros(3, dtype=np.float32))


class _Builder:
    """Collects cones one by one."""

    def __init__(self) -> None:
        self.rows: list[tuple[Array, Array, float, float]] = []
        self.looks: list[tuple[Colour, Colour, Pattern]] = []
        self.panels: list[tuple[Array, float, Colour]] = []

    def add(
        self,
        start: Array,
        end: Array,
        radii: tuple[float, float],
        colour: Colour,
        second: Colour | None = None,
        pattern: Pattern = Pattern.PLAIN,
        *,
        panel: tuple[Array, float, Colour] = _NO_PANEL,
    ) -> None:
        self.rows.append((start, end, *radii))
        self.looks.append((colour, colour if second is None else second, pattern))
        self.panels.append(panel)


def dress(
    pose: BodyPose, frame: int, person: Person, clothes: Clothes, stool: Colour | None
) -> RoundCones:
    """The cones of one frame of a clip in world mm; `stool` is its colour where there is one."""
    build = _Builder()
    joints = pose.joints_mm[frame]
    chest, pelvis = pose.chest[frame], pose.pelvis[frame]
    girth = person.torso_girth
    _add_trunk(build, joints, chest, pelvis, girth, clothes)
    _add_head(build, joints, pose.skull[frame], person, clothes)
    limb = person.limb_girth
    sleeve = clothes.top if clothes.sleeves >= 1 else person.skin
    cuff = clothes.top if clothes.sleeves == 2 else person.skin
    shin = person.skin if clothes.shorts else clothes.legs
    for index, (hip, knee, ankle, shoulder, elbow, wrist) in enumerate(
        ((4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16))
    ):
        front = (pose.thigh_front[frame, index], 0.7, clothes.legs_front)
        build.add(joints[hip], joints[knee], (84 * limb, 58 * limb), clothes.legs, panel=front)
        front = (pose.shin_front[frame, index], 0.7, shin if clothes.shorts else front[2])
        build.add(joints[knee], joints[ankle], (56 * limb, 40 * limb), shin, panel=front)
        heel = joints[ankle] - 0.2 * (pose.toes_mm[frame, index] - joints[ankle])
        build.add(heel, pose.toes_mm[frame, index], (46.0, 36.0), clothes.shoes)
        build.add(joints[shoulder], joints[elbow], (52 * limb, 42 * limb), sleeve)
        build.add(joints[elbow], joints[wrist], (41 * limb, 31 * limb), cuff)
        build.add(joints[wrist], pose.hands_mm[frame, index], (34.0, 28.0), person.skin)
    if stool is not None:
        seat = joints[0] - (0.0, 0.0, 150.0 * girth)
        ground = np.array((seat[0], seat[1], 60.0))
        if seat[2] > 160.0:
            build.add(seat - (0.0, 0.0, 60.0), ground, (130.0, 60.0), stool)
    start, end, start_radius, end_radius = zip(*build.rows, strict=True)
    colour, second, pattern = zip(*build.looks, strict=True)
    front, front_cut, front_colour = zip(*build.panels, strict=True)
    return RoundCones(
        np.array(start),
        np.array(end),
        np.array(start_radius),
        np.array(end_radius),
        np.array(colour),
        np.array(second),
        np.array(pattern, dtype=np.int64),
        np.array(front),
        np.array(front_cut),
        np.array(front_colour),
        clothes.stripe_mm,
        pose.skull[frame],
    )


def _add_trunk(
    build: _Builder, joints: Array, chest: Array, pelvis: Array, girth: float, clothes: Clothes
) -> None:
    stripes = (clothes.top, clothes.top_stripe, Pattern.STRIPES)
    panel = (chest[:, 0], 0.6, clothes.chest)
    build.add(joints[1], joints[4], (92 * girth, 92 * girth), clothes.legs)
    build.add(joints[0], joints[7], (118 * girth, 112 * girth), *stripes, panel=panel)
    for sign in (-1.0, 1.0):
        low = joints[7] + chest @ (0.0, sign * 48.0 * girth, -40.0)
        high = joints[8] + chest @ (0.0, sign * 72.0 * girth, -75.0)
        build.add(low, high, (98 * girth, 94 * girth), *stripes, panel=panel)
    build.add(joints[14], joints[11], (60.0, 60.0), clothes.top)
    seat = joints[0] + pelvis @ (-22.0, 0.0, -45.0)
    pockets = (-pelvis[:, 0], 0.7, clothes.pockets)
    build.add(seat, seat, (98 * girth, 98 * girth), clothes.legs, panel=pockets)


def _add_head(
    build: _Builder, joints: Array, skull: Array, person: Person, clothes: Clothes
) -> None:
    build.add(joints[8], joints[9], (58.0, 54.0), person.skin)
    collar = joints[8] + skull @ (0.0, 0.0, 10.0)
    build.add(joints[8], collar, (66.0, 62.0), clothes.top)
    chin = joints[9] + skull @ (14.0, 0.0, 4.0)
    crown = joints[10] + skull @ (-8.0, 0.0, 18.0)
    build.add(chin, crown, (74.0, 92.0), person.skin, person.hair, Pattern.FACE)
    nose = (joints[9] + joints[10]) / 2 + skull @ (88.0, 0.0, 0.0)
    build.add(nose + skull @ (-6.0, 0.0, 25.0), nose, (12.0, 17.0), person.skin)
    if person.long_hair:
        nape = joints[9] + skull @ (-62.0, 0.0, -70.0)
        build.add(crown + skull @ (-22.0, 0.0, -10.0), nape, (86.0, 66.0), person.hair)
