"""What a run was trained on, and whether a store is of the same kind."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel

from cache import CacheReader
from cache.fingerprint import diff_identities
from stages.lift.config import DataConfig, Difference
from stages.lift.errors import RunMismatch
from stages.lift.feed.samples import require_source, store_name


class LevelShape(BaseModel, extra="forbid", frozen=True):
    """One level of maps that a lifter reads."""

    name: str
    channels: int
    height: int
    width: int
    stride: int


class TrainedOn(BaseModel, extra="forbid", frozen=True):
    """The data of a run, as far as its weights depend on them. No paths, hosts or times."""

    skeleton: str
    num_joints: int
    detector_skeleton: str
    keypoint_source: str
    levels: tuple[LevelShape, ...]
    crop_size_hw: tuple[int, int]
    feature_identity: dict[str, Any]
    content_identity: dict[str, Any]


def describe(reader: CacheReader, config: DataConfig, level_names: Sequence[str]) -> TrainedOn:
    """Returns what a run on this store is trained on."""
    levels = [reader.levels[name] for name in level_names]
    height, width = reader.spec.crop_size
    return TrainedOn(
        skeleton=reader.label_skeleton.name,
        num_joints=reader.label_skeleton.num_joints,
        detector_skeleton=reader.source_skeleton(config.keypoint_source).name,
        keypoint_source=config.keypoint_source,
        levels=tuple(
            LevelShape(
                name=level.name,
                channels=level.channels,
                height=level.height,
                width=level.width,
                stride=level.stride,
            )
            for level in levels
        ),
        crop_size_hw=(height, width),
        feature_identity=dict(reader.feature_identity),
        content_identity=dict(reader.content_identity),
    )


def require_same_kind(
    trained_on: TrainedOn,
    reader: CacheReader,
    *,
    keypoint_source: str,
    allow: Collection[Difference] = (),
) -> None:
    """Raises `RunMismatch` if weights trained on `trained_on` do not fit the store.

    Compared are the skeleton, the keypoint source and the feature identity (detector, crop,
    normalisation, precision); a difference named in `allow` is let through, except that the
    number of joints and the maps' channels must fit in any case. The feature identity matters
    unless the lifter reads no maps and ground-truth keypoints.
    """
    problems = []
    skeleton = reader.label_skeleton
    if skeleton.num_joints != trained_on.num_joints or (
        skeleton.name != trained_on.skeleton and "skeleton" not in allow
    ):
        problems.append(
            f"skeleton: trained on {trained_on.skeleton} ({trained_on.num_joints} joints),"
            f" the store has {skeleton.name} ({skeleton.num_joints} joints)"
        )
    require_source(reader, keypoint_source)
    found = reader.source_skeleton(keypoint_source).name
    if found != trained_on.detector_skeleton and "skeleton" not in allow:
        problems.append(
            f"skeleton of the keypoints: trained on {trained_on.detector_skeleton}, the store has"
            f" {found}"
        )
    if keypoint_source != trained_on.keypoint_source and "keypoints" not in allow:
        problems.append(
            f"keypoint source: trained on {trained_on.keypoint_source!r}, asked for"
            f" {keypoint_source!r}"
        )
    problems += _level_problems(trained_on, reader)
    reads_detector = bool(trained_on.levels) or keypoint_source != "gt"
    if reads_detector and "features" not in allow:
        problems += [
            f"feature identity: {line}"
            for line in diff_identities(trained_on.feature_identity, dict(reader.feature_identity))
        ]
    if problems:
        raise RunMismatch(
            f"The run does not fit {store_name(reader)}:\n  " + "\n  ".join(problems) + "\n"
            "Use a store of the same detector and crop, or train on this one. To evaluate all the"
            " same, allow the difference by name: evaluate.allow=[skeleton, features, keypoints]."
        )


def _level_problems(trained_on: TrainedOn, reader: CacheReader) -> list[str]:
    problems = []
    for level in trained_on.levels:
        present = reader.levels.get(level.name)
        if present is None:
            problems.append(f"maps {level.name}: not in the store ({', '.join(reader.levels)})")
        elif present.channels != level.channels:
            problems.append(
                f"maps {level.name}: trained on {level.channels} channels, the store has"
                f" {present.channels}"
            )
    return problems
