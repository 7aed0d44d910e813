"""What can be chosen about a study of robustness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, NonNegativeInt, PositiveFloat, PositiveInt


def _rising(strengths: Sequence[float]) -> Sequence[float]:
    if list(strengths) != sorted(set(strengths)):
        raise ValueError("strengths rise, each named once")
    return strengths


Share = Annotated[float, Field(gt=0.0, le=1.0)]
Covered = Annotated[float, Field(gt=0.0, le=0.75)]
Shift = Annotated[float, Field(gt=0.0, le=0.5)]
Factor = Annotated[float, Field(gt=1.0, le=64.0)]


class StrengthsConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """Strengths of each degradation, rising; undegraded frames come first by themselves."""

    noise: Annotated[tuple[Share, ...], AfterValidator(_rising)] = (0.01, 0.02, 0.04, 0.08)
    """Standard deviation of each 2D coordinate, share of the height of the person's box."""
    dropped: Annotated[tuple[Share, ...], AfterValidator(_rising)] = (0.1, 0.2, 0.3, 0.5)
    """Share of the 2D joints that are lost: each lies anywhere in the box instead, score 0."""
    occluder: Annotated[tuple[Covered, ...], AfterValidator(_rising)] = (0.05, 0.1, 0.2, 0.4)
    """Share of the person's box that a textured shape in the picture covers."""
    jitter: Annotated[tuple[Shift, ...], AfterValidator(_rising)] = (0.05, 0.1, 0.2, 0.3)
    """How far the box is off: its centre by up to this share of its sides, its size by up to this
    share."""
    resolution: Annotated[tuple[Factor, ...], AfterValidator(_rising)] = (2.0, 4.0, 6.0, 8.0)
    """Factor by which the picture is scaled down, and up again."""


class RobustnessConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """What `posecache robustness` degrades, and how far."""

    strengths: StrengthsConfig = StrengthsConfig()
    """Of each degradation; an empty list leaves one out."""
    rows: PositiveInt = 400
    """Rows of the test splits, at most, evenly over clips; `--rows` sets it."""
    splits: tuple[str, ...] | None = None
    """Splits to take rows from; `None`: every split whose name starts with `test`."""
    seed: NonNegativeInt = 0
    """Of all draws."""
    draws: PositiveInt = 10_000
    """Of clips, for the intervals."""
    tolerance_mm: PositiveFloat = 0.2
    """Undegraded frames must be lifted as the store's are, up to this mean distance of joints."""
