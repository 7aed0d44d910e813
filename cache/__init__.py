"""The contract between the two stages: plain arrays in a chunked Zarr store."""

from __future__ import annotations

from cache.cameras import Camera, project, world_to_camera
from cache.conversions import conversion_note, convert_keypoints
from cache.errors import (
    CacheCorrupt,
    CacheError,
    CacheIncomplete,
    CacheMismatch,
    CacheMissing,
    CacheUnreachable,
    CacheWriteError,
    PlanError,
    SchemaMismatch,
    SkeletonMismatch,
)
from cache.plan import IndexColumn, RowPlan
from cache.reader import CacheReader
from cache.schema import (
    FORMAT_VERSION,
    CacheSpec,
    FrameStatus,
    LevelSpec,
    choose_shard_rows,
)
from cache.shuffle import shuffled
from cache.skeletons import SKELETONS, Skeleton, get_skeleton
from cache.verify import Problem, VerifyReport, verify
from cache.window_reading import StoreWindows, WindowMaps
from cache.windows import ClipWindows, WindowShape
from cache.writer import CacheWriter, ChunkData

__all__ = [
    "FORMAT_VERSION",
    "SKELETONS",
    "CacheCorrupt",
    "CacheError",
    "CacheIncomplete",
    "CacheMismatch",
    "CacheMissing",
    "CacheReader",
    "CacheSpec",
    "CacheUnreachable",
    "CacheWriteError",
    "CacheWriter",
    "Camera",
    "ChunkData",
    "ClipWindows",
    "FrameStatus",
    "IndexColumn",
    "LevelSpec",
    "PlanError",
    "Problem",
    "RowPlan",
    "SchemaMismatch",
    "Skeleton",
    "SkeletonMismatch",
    "StoreWindows",
    "VerifyReport",
    "WindowMaps",
    "WindowShape",
    "choose_shard_rows",
    "conversion_note",
    "convert_keypoints",
    "get_skeleton",
    "project",
    "shuffled",
    "verify",
    "world_to_camera",
]
