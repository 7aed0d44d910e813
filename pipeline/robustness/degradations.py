"""The degradations: what they are called, in which unit, and what they change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pipeline.robustness.config import StrengthsConfig

Name = Literal["clean", "noise", "dropped", "occluder", "jitter", "resolution"]


@dataclass(frozen=True)
class Degradation:
    """One way of making frames worse."""

    name: Name
    title: str
    unit: str
    neutral: float
    """The strength that changes nothing."""
    of_keypoints: bool
    """Changes what the detector found; else the detector looks at changed frames."""


DEGRADATIONS = (
    Degradation("noise", "noise on 2D joints", "s.d., share of box height", 0.0, True),
    Degradation("dropped", "lost 2D joints", "share of joints", 0.0, True),
    Degradation("occluder", "occluder in the picture", "share of box covered", 0.0, False),
    Degradation("jitter", "box off", "share of box sides", 0.0, False),
    Degradation("resolution", "lower resolution", "factor", 1.0, False),
)


@dataclass(frozen=True)
class Variant:
    """One degradation at one strength."""

    degradation: Name
    strength: float

    @property
    def label(self) -> str:
        """What progress and tables call it."""
        return "clean" if self == CLEAN else f"{self.degradation} {self.strength:g}"


CLEAN = Variant("clean", 0.0)


def degradation_of(name: str) -> Degradation:
    """Return the degradation of that name."""
    return next(each for each in DEGRADATIONS if each.name == name)


def variants(strengths: StrengthsConfig) -> tuple[Variant, ...]:
    """Return undegraded frames, then every degradation from its weakest strength on."""
    return (
        CLEAN,
        *(
            Variant(each.name, strength)
            for each in DEGRADATIONS
            for strength in getattr(strengths, each.name)
        ),
    )


def passes(wanted: Sequence[Variant]) -> list[tuple[Variant, ...]]:
    """Return which variants share a pass of the detector: all that see undegraded frames."""
    unchanged = tuple(v for v in wanted if v == CLEAN or degradation_of(v.degradation).of_keypoints)
    changed: list[tuple[Variant, ...]] = [
        (variant,) for variant in wanted if variant not in unchanged
    ]
    return [unchanged, *changed] if unchanged else changed
