"""Whether a lifter can read a store whose maps were read at the joints before."""

from __future__ import annotations

from cache import CacheReader
from lifter import LIFTERS
from lifter.config import LifterConfig
from stages.lift.errors import LiftError
from stages.lift.feed.samples import store_name


def require_reads_points(lifter: LifterConfig, reader: CacheReader) -> None:
    """Raises `LiftError` if the store is a point cache that this lifter cannot read.

    It must need of the maps only what they show at the joints, found by the rule of the cache.
    """
    points = reader.spec.points
    kind = LIFTERS[lifter.name]
    if points is None or not kind.uses_features:
        return
    if not kind.reads_points(lifter):
        setting = f" with lifter.fusion={lifter.fusion}" if lifter.name == "capf" else ""
        instead = ", or set lifter.fusion to fusion or concat" if lifter.name == "capf" else ""
        raise LiftError(
            f"{store_name(reader)} is a point cache: it holds what the maps show at the joints, but"
            f" {lifter.name}{setting} samples whole maps. Set store= to the full store that it was"
            f" sampled from{instead}."
        )
    if lifter.reference_rule != points.reference_rule:
        raise LiftError(
            f"{store_name(reader)} was sampled with the reference rule {points.reference_rule!r},"
            f" but lifter.reference_rule is {lifter.reference_rule!r}. Set that to"
            f" {points.reference_rule}, or sample the full store anew: posecache cache sample STORE"
            f" --set lifter.reference_rule={lifter.reference_rule}."
        )


def other_keypoints(reader: CacheReader, keypoint_source: str) -> str | None:
    """Returns why a point cache does not go with these keypoints; None if it does."""
    points = reader.spec.points
    if points is None or points.keypoint_source == keypoint_source:
        return None
    return (
        f"{store_name(reader)} was sampled at the keypoints {points.keypoint_source!r}, not at"
        f" {keypoint_source!r}; sample the full store anew: posecache cache sample STORE --set"
        f" train.data.keypoint_source={keypoint_source}"
    )
