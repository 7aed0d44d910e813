"""Random people: bone lengths and girth belong to a person, clothes are drawn anew per clip."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from stages.extract.datasets.synthetic.kinematics import BoneLengths

Colour = NDArray[np.float32]
"""Linear RGB in 0..1, [3]."""


@dataclass(frozen=True)
class Person:
    """What stays the same of a person in every clip."""

    bones: BoneLengths
    torso_girth: float
    limb_girth: float
    skin: Colour
    hair: Colour
    long_hair: bool


@dataclass(frozen=True)
class Clothes:
    """Colours of a clip, the same on the left and on the right side of the body."""

    top: Colour
    top_stripe: Colour
    stripe_mm: float
    chest: Colour
    """Panel on the front of the top."""
    legs: Colour
    legs_front: Colour
    """Panel on the front of the legs."""
    pockets: Colour
    """Patch on the back of the trousers."""
    shoes: Colour
    sleeves: int
    """0 bare arms, 1 short sleeves, 2 long sleeves."""
    shorts: bool


def draw_person(rng: np.random.Generator) -> Person:
    """A person of 1.5 to 1.95 m with proportions that vary by about 5 %."""
    height = float(np.clip(rng.normal(1720, 90), 1500, 1950))

    def length(share: float) -> float:
        return height * share * float(np.clip(rng.normal(1.0, 0.05), 0.88, 1.12))

    bones = BoneLengths(
        hip_half_width=length(0.075),
        thigh=length(0.255),
        shin=length(0.25),
        foot=length(0.105),
        lower_spine=length(0.135),
        upper_spine=length(0.145),
        neck=length(0.065),
        head=length(0.066),
        shoulder_half_width=length(0.088),
        upper_arm=length(0.163),
        forearm=length(0.145),
        hand=length(0.07),
    )
    tone = rng.uniform(0.15, 1.0)
    skin = np.array([0.28, 0.16, 0.10]) * (1 - tone) + np.array([0.85, 0.62, 0.5]) * tone
    lightness = rng.uniform(0.02, 0.3) if tone > 0.4 else rng.choice((0.02, 0.7))
    hair = np.array(colorsys.hsv_to_rgb(rng.uniform(0.02, 0.12), rng.uniform(0.1, 0.8), lightness))
    return Person(
        bones=bones,
        torso_girth=float(np.clip(rng.normal(1.0, 0.12), 0.75, 1.35)),
        limb_girth=float(np.clip(rng.normal(1.0, 0.1), 0.78, 1.25)),
        skin=skin.astype(np.float32),
        hair=hair.astype(np.float32),
        long_hair=bool(rng.random() < 0.4),
    )


def draw_colour(rng: np.random.Generator, saturation: float = 0.9, lightest: float = 0.9) -> Colour:
    """Any cloth colour, from near black to `lightest`."""
    hsv = (rng.random(), rng.uniform(0, saturation), rng.uniform(0.04, lightest))
    return np.array(colorsys.hsv_to_rgb(*hsv), dtype=np.float32)


def _lighter(colour: Colour, rng: np.random.Generator) -> Colour:
    """A light panel for a cloth of `colour`."""
    light = rng.uniform(0.8, 1.0, size=3).astype(np.float32)
    return 0.2 * colour + 0.8 * light


def draw_clothes(rng: np.random.Generator) -> Clothes:
    """Clothes of one clip: lighter in front, left and right the same.

    As faces and feet do, this shows which way a person faces; a small detector learns from it
    within minutes what takes a large one hundreds of thousands of pictures.
    """
    top, legs = (draw_colour(rng, lightest=0.55) for _ in range(2))
    return Clothes(
        top=top,
        top_stripe=draw_colour(rng, lightest=0.55) if rng.random() < 0.45 else top,
        stripe_mm=float(rng.uniform(40, 160)),
        chest=_lighter(top, rng),
        legs=legs,
        legs_front=_lighter(legs, rng),
        pockets=0.25 * legs,
        shoes=draw_colour(rng),
        sleeves=int(rng.integers(3)),
        shorts=bool(rng.random() < 0.35),
    )
