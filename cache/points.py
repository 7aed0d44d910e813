"""What a point cache says of itself."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Literal

from pydantic import AfterValidator, ConfigDict
from pydantic.dataclasses import dataclass

from cache.coords import UnitRule
from cache.names import check_source

POINTS = "points"
"""Key of a feature identity that only a point cache has."""

FeatureDtype = Literal["float16", "float32"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class PointSpec:
    """What a point cache holds in place of maps: what the maps show at the joints.

    Column j of a level, whose map is `[1, J, C]`, was read bilinearly at joint j, with zeros
    outside the map. In the flipped view, as in the plain one, joints are those of the person that
    the picture shows: left and right are exchanged.

    Args:
        keypoint_source: of the joints.
        reference_rule: that led from them to places in the maps; see `cache.coords`.
        skeleton: joint set of the columns, that of the labels.
    """

    keypoint_source: Annotated[str, AfterValidator(check_source)]
    reference_rule: UnitRule
    skeleton: str

    def identity(self, dtype: FeatureDtype) -> dict[str, str]:
        """What the feature identity says under `POINTS` of points that were stored in `dtype`."""
        return {**asdict(self), "dtype": dtype}
