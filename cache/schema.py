"""Cache format 1: arrays, axes, dtypes and chunking; the only file that names Zarr paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from enum import IntEnum
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.dataclasses import dataclass

from cache.errors import SchemaMismatch
from cache.names import check_name, check_source
from cache.points import FeatureDtype, PointSpec
from cache.skeletons import get_skeleton

FORMAT_NAME = "posecache"
METADATA = "zarr.json"
"""Object that describes a group or an array."""
FORMAT_VERSION = 1
MAX_SHARD_ROWS = 64
MAX_SHARD_BYTES_PER_VIEW = 32 * 2**20
CRC_BYTES = 4

AFFINE = "crop/affine"
STATUS = "status"
COMMIT = "commit"
IMAGE_SIZE = "image_size"
CAMERAS = "cameras"
FEATURES = "features"
KEYPOINTS = "keypoints"
LABELS = "labels"
INDEX = "index"
CAMERA_ARRAYS = ("K", "R", "t_mm", "distortion", "fps")

View = Literal["plain", "flipped"]
CodeDtype = Literal["uint8", "int8"]
Codec = Literal["raw", "zstd", "blosc"]

_CONFIG = ConfigDict(extra="forbid")


class FrameStatus(IntEnum):
    """Why a row has no usable features; OK is the only one that training reads."""

    OK = 0
    MISSING = 1
    TRUNCATED = 2
    NO_PERSON = 3
    NOT_FINITE = 4
    BAD_BOX = 5
    UNREADABLE = 6


@dataclass(frozen=True, config=_CONFIG)
class LevelSpec:
    """One level of the feature pyramid: maps of `[height, width, channels]`.

    Args:
        name: of its array.
        channels: C.
        height: H, cells.
        width: W, cells.
        stride: crop px per cell.
        dtype: of 8-bit codes, whose scales lie in the array's attributes; None: that of the store.
    """

    name: Annotated[str, AfterValidator(check_name)]
    channels: PositiveInt
    height: PositiveInt
    width: PositiveInt
    stride: PositiveInt
    dtype: CodeDtype | None = None

    @property
    def map_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of one row."""
        return (self.height, self.width, self.channels)


def map_bytes(level: LevelSpec, dtype: str) -> int:
    """Bytes of one row of one view in a store of `dtype`, without its checksum."""
    itemsize = np.dtype(level.dtype or dtype).itemsize
    return level.height * level.width * level.channels * itemsize


def choose_shard_rows(levels: Sequence[LevelSpec], dtype: str = "float16") -> int:
    """Largest power of two, at most 64, with a shard of at most 32 MiB per level and view."""
    largest = max(map_bytes(level, dtype) + CRC_BYTES for level in levels)
    rows = MAX_SHARD_ROWS
    while rows > 1 and rows * largest > MAX_SHARD_BYTES_PER_VIEW:
        rows //= 2
    return rows


@dataclass(frozen=True, kw_only=True, config=_CONFIG)
class CacheSpec:
    """Layout of a store.

    Args:
        num_rows: planned person-frames.
        levels: feature pyramid, finest first.
        skeleton: joint set of the detector's keypoints (`gt` keypoints have that of the plan).
        imported_skeletons: joint sets of imported keypoints where they differ from `skeleton`,
            by name of the source.
        crop_size: (H, W) of the detector's input.
        shard_rows: rows per chunk of work, a power of two.
        views: `plain` first, `flipped` for the mirrored input.
        dtype: of the features, where a level does not say otherwise.
        keypoint_sources: `detector`, `gt`, `imported:<name>`.
        codec: of the features; `raw` can be read in any order at the speed of memory.
        inner_rows: rows that are compressed together, 1 for `raw`.
        points: of a point cache, where its columns were read; a level's stride is then that of the
            map they were read in. None: levels hold maps.
    """

    num_rows: PositiveInt
    levels: Annotated[tuple[LevelSpec, ...], Field(min_length=1)]
    skeleton: str
    crop_size: tuple[PositiveInt, PositiveInt]
    shard_rows: PositiveInt
    views: tuple[View, ...] = ("plain", "flipped")
    dtype: FeatureDtype = "float16"
    keypoint_sources: tuple[Annotated[str, AfterValidator(check_source)], ...] = Field(
        default=("detector", "gt")
    )
    codec: Codec = "raw"
    inner_rows: PositiveInt = 1
    imported_skeletons: Mapping[str, str] = Field(default_factory=dict)
    points: PointSpec | None = None

    @model_validator(mode="after")
    def _check(self) -> CacheSpec:
        get_skeleton(self.skeleton)
        if self.shard_rows & (self.shard_rows - 1):
            raise ValueError(f"shard_rows must be a power of two, got {self.shard_rows}")
        if self.views not in (("plain",), ("plain", "flipped")):
            raise ValueError(f"views are ('plain',) or ('plain', 'flipped'), got {self.views}")
        if self.codec == "raw" and self.inner_rows != 1:
            raise ValueError("raw maps lie one by one: inner_rows is 1")
        if self.shard_rows % self.inner_rows:
            raise ValueError(
                f"inner_rows {self.inner_rows} does not divide shard_rows {self.shard_rows}"
            )
        for kind, names in (
            ("levels", [level.name for level in self.levels]),
            ("keypoint_sources", list(self.keypoint_sources)),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{kind} are named twice in {names}")
        unknown = set(self.imported_skeletons) - set(self.keypoint_sources)
        if unknown:
            raise ValueError(
                f"imported_skeletons names {sorted(unknown)}, "
                f"which are not among the sources {list(self.keypoint_sources)}"
            )
        for skeleton in self.imported_skeletons.values():
            get_skeleton(skeleton)
        if self.points is not None:
            self._check_points(self.points)
        return self

    def _check_points(self, points: PointSpec) -> None:
        if points.keypoint_source not in self.keypoint_sources:
            raise ValueError(
                f"points were read at {points.keypoint_source!r}, which is not among the sources "
                f"{list(self.keypoint_sources)}"
            )
        joints = get_skeleton(points.skeleton).num_joints
        for level in self.levels:
            if (level.height, level.width) != (1, joints):
                raise ValueError(
                    f"points of {points.skeleton} are 1 x {joints}, level {level.name} is "
                    f"{level.height} x {level.width}"
                )

    def source_skeleton(self, source: str, label_skeleton: str) -> str:
        """Name of the joint set of a keypoint source, given that of the labels."""
        if source == "gt":
            return label_skeleton
        return self.imported_skeletons.get(source, self.skeleton)

    @property
    def num_views(self) -> int:
        """V."""
        return len(self.views)

    @property
    def is_mappable(self) -> bool:
        """Whether a map's bytes lie in its file as they are in memory."""
        return self.codec == "raw"

    def level_dtype(self, level: LevelSpec) -> np.dtype[Any]:
        """Type of a level's stored numbers."""
        return np.dtype(level.dtype or self.dtype)

    @property
    def num_chunks(self) -> int:
        """Chunks of work, the last one possibly shorter."""
        return -(-self.num_rows // self.shard_rows)

    def chunk_rows(self, chunk: int) -> range:
        """Rows of a chunk; raises IndexError outside `range(num_chunks)`."""
        if not 0 <= chunk < self.num_chunks:
            raise IndexError(f"chunk {chunk} of a store of {self.num_chunks} chunks")
        start = chunk * self.shard_rows
        return range(start, min(start + self.shard_rows, self.num_rows))

    def to_json(self) -> dict[str, Any]:
        """Plain containers for the store's attributes.

        What says no more than its default is left out, so that a store reads the same whether it
        was written before or after that choice existed.
        """
        tree = asdict(self)
        for level in tree["levels"]:
            if level["dtype"] is None:
                del level["dtype"]
        if self.codec == "raw":
            del tree["codec"], tree["inner_rows"]
        if not self.imported_skeletons:
            del tree["imported_skeletons"]
        if self.points is None:
            del tree["points"]
        return tree

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> CacheSpec:
        """The spec of a store's attributes; raises `SchemaMismatch` for keys it does not know."""
        try:
            return TypeAdapter(cls).validate_python(value)
        except ValidationError as error:
            raise SchemaMismatch(f"the stored layout is not one of format 1: {error}") from error


def feature_path(level: str) -> str:
    """Array of a level, N V H W C."""
    return f"{FEATURES}/{level}"


def keypoints_path(source: str) -> str:
    """Array of a keypoint source, N V J 3."""
    return f"{KEYPOINTS}/{source}"


def label_path(name: str) -> str:
    """Array of a label; the poses of moving cameras lie with the cameras."""
    return f"{CAMERAS if name == 'extrinsics' else LABELS}/{name}"


def index_path(column: str) -> str:
    """Array of codes of an index column, N."""
    return f"{INDEX}/{column}"


def camera_path(name: str) -> str:
    """Array of a camera property, one entry per camera."""
    return f"{CAMERAS}/{name}"


def chunk_key(chunk: int, num_axes: int) -> str:
    """File name of a chunk that is split along the rows only."""
    return ".".join(["c", str(chunk), *["0"] * (num_axes - 1)])


def chunk_arrays(
    spec: CacheSpec, label_skeleton: str
) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Path -> (shape of one row, dtype) of every array that chunk tasks write."""
    views = spec.num_views
    arrays: dict[str, tuple[tuple[int, ...], np.dtype[Any]]] = {
        feature_path(level.name): ((views, *level.map_shape), spec.level_dtype(level))
        for level in spec.levels
    }
    for source in spec.keypoint_sources:
        joints = get_skeleton(spec.source_skeleton(source, label_skeleton)).num_joints
        arrays[keypoints_path(source)] = ((views, joints, 3), np.dtype(np.float32))
    arrays[AFFINE] = ((views, 2, 3), np.dtype(np.float64))
    arrays[STATUS] = ((), np.dtype(np.uint8))
    return arrays
