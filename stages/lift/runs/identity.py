"""What a run was trained on, and whether a store is of the same kind."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from cache import CacheReader, conversion_note
from cache.fingerprint import diff_identities
from cache.points import POINTS, PointSpec
from stages.lift.config import DataConfig, Difference
from stages.lift.errors import LiftError, StoreMismatch
from stages.lift.feed.point_caches import other_keypoints
from stages.lift.feed.samples import require_source, store_name


class LevelShape(BaseModel, extra="forbid", frozen=True):
    """One level of maps that a lifter reads; of a point cache, 1 x J."""

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
    keypoint_note: str | None = None
    """What of these keypoints only approximates the joints of the labels."""
    levels: tuple[LevelShape, ...]
    crop_size_hw: tuple[int, int]
    feature_identity: dict[str, Any]
    content_identity: dict[str, Any]
    points: PointSpec | None = None
    """Where the maps were read before, if that was a point cache."""


def describe(reader: CacheReader, config: DataConfig, level_names: Sequence[str]) -> TrainedOn:
    """Returns what a run on this store is trained on.

    Raises `LiftError` for keypoints that it does not hold, or that its points were not read at.
    """
    require_source(reader, config.keypoint_source)
    problem = other_keypoints(reader, config.keypoint_source) if level_names else None
    if problem is not None:
        raise LiftError(f"{problem}. Or set train.data.keypoint_source to those of the points.")
    levels = [reader.levels[name] for name in level_names]
    height, width = reader.spec.crop_size
    keypoint_skeleton = reader.source_skeleton(config.keypoint_source)
    return TrainedOn(
        skeleton=reader.label_skeleton.name,
        num_joints=reader.label_skeleton.num_joints,
        detector_skeleton=keypoint_skeleton.name,
        keypoint_source=config.keypoint_source,
        keypoint_note=conversion_note(keypoint_skeleton, reader.label_skeleton),
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
        points=reader.spec.points if level_names else None,
    )


@dataclass(frozen=True)
class InputKind:
    """What a lifter is to be fed, as far as its weights may not fit that."""

    name: str
    """What messages call it: a store, or a detector that has just seen frames."""
    skeleton: str
    """Joint set of the poses."""
    num_joints: int
    keypoint_source: str
    keypoint_skeleton: str
    channels: Mapping[str, int]
    """Of the maps, by level."""
    feature_identity: Mapping[str, Any]
    problem: str | None = None
    """Why maps and keypoints do not go together, if so."""


def kind_of(reader: CacheReader, keypoint_source: str) -> InputKind:
    """Returns the kind of a store; raises `LiftError` if it does not hold these keypoints."""
    require_source(reader, keypoint_source)
    skeleton = reader.label_skeleton
    return InputKind(
        name=store_name(reader),
        skeleton=skeleton.name,
        num_joints=skeleton.num_joints,
        keypoint_source=keypoint_source,
        keypoint_skeleton=reader.source_skeleton(keypoint_source).name,
        channels={name: level.channels for name, level in reader.levels.items()},
        feature_identity=reader.feature_identity,
        problem=other_keypoints(reader, keypoint_source),
    )


def require_same_kind(
    trained_on: TrainedOn, kind: InputKind, *, allow: Collection[Difference] = ()
) -> None:
    """Raises `StoreMismatch` if weights trained on `trained_on` do not fit what they are fed.

    Compared are the skeleton of the labels, the source and the skeleton of the keypoints, and the
    feature identity (detector, crop, normalisation, precision); a difference named in `allow` is
    let through, except that the number of joints and the maps' channels must fit in any case. The
    feature identity matters unless the lifter reads no maps, and keypoints that are not the
    detector's.

    A point cache and the full store that it was sampled from are of one kind, for the same
    keypoints: what a lifter sees is the same, up to the rounding of the points.
    """
    found = _Differences(allow)
    if kind.skeleton != trained_on.skeleton or kind.num_joints != trained_on.num_joints:
        found.add(
            "skeleton" if kind.num_joints == trained_on.num_joints else None,
            f"skeleton: trained on {trained_on.skeleton} ({trained_on.num_joints} joints),"
            f" the store has {kind.skeleton} ({kind.num_joints} joints)",
        )
    if kind.keypoint_skeleton != trained_on.detector_skeleton:
        found.add(
            "skeleton",
            f"skeleton of the keypoints: trained on {trained_on.detector_skeleton}, the store has"
            f" {kind.keypoint_skeleton}",
        )
    if kind.keypoint_source != trained_on.keypoint_source:
        found.add(
            "keypoints",
            f"keypoint source: trained on {trained_on.keypoint_source!r}, asked for"
            f" {kind.keypoint_source!r}",
        )
    for line in _level_problems(trained_on, kind):
        found.add(None, line)
    if trained_on.levels and kind.problem is not None:
        found.add(None, kind.problem)
    if trained_on.levels or kind.keypoint_source == "detector":
        for line in diff_identities(
            _of_maps(trained_on.feature_identity), _of_maps(kind.feature_identity)
        ):
            found.add("features", f"feature identity: {line}")
    if found.problems:
        raise StoreMismatch(
            f"The run does not fit {kind.name}:\n  "
            + "\n  ".join(found.problems)
            + "\nUse a store of the same detector and crop, or train on this one."
            + found.advice()
        )


def require_same_content_of_maps(trained_on: TrainedOn, reader: CacheReader) -> None:
    """Raises `StoreMismatch` unless both hold maps, or both points.

    Shuffled context lends whole maps in a full store, which are read at the borrower's joints, and
    points, read at the lender's, in a point cache.
    """
    if (trained_on.points is None) != (reader.spec.points is None):
        kinds = ("a point cache", "a full store")
        mine, other = kinds if trained_on.points else kinds[::-1]
        raise StoreMismatch(
            f"The run was trained with shuffled context on {mine}, and {store_name(reader)} is"
            f" {other}, where shuffling lends something else. Evaluate it on {mine}."
        )


def _of_maps(feature_identity: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the identity of the maps, whether or not they were read at the joints since."""
    return {key: value for key, value in feature_identity.items() if key != POINTS}


class _Differences:
    """Differences between a run and a store that are not allowed."""

    def __init__(self, allow: Collection[Difference]) -> None:
        self._allow = allow
        self._kinds: dict[Difference | None, None] = {}
        self.problems: list[str] = []

    def add(self, kind: Difference | None, text: str) -> None:
        """Notes a difference, unless its kind is allowed; no kind cannot be."""
        if kind is None or kind not in self._allow:
            self._kinds[kind] = None
            self.problems.append(text)

    def advice(self) -> str:
        """Returns how to evaluate all the same, where that is possible."""
        if None in self._kinds:
            return ""
        kinds = dict.fromkeys([*self._allow, *(kind for kind in self._kinds if kind)])
        return (
            " To evaluate all the same, allow the difference by name: evaluate.allow="
            f"[{', '.join(kinds)}]."
        )


def _level_problems(trained_on: TrainedOn, kind: InputKind) -> list[str]:
    problems = []
    for level in trained_on.levels:
        channels = kind.channels.get(level.name)
        if channels is None:
            problems.append(f"maps {level.name}: not in the store ({', '.join(kind.channels)})")
        elif channels != level.channels:
            problems.append(
                f"maps {level.name}: trained on {level.channels} channels, the store has {channels}"
            )
    return problems
