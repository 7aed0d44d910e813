"""The contract between the two stages: plain arrays in a chunked Zarr store."""

from __future__ import annotations

from cache.cameras import Camera, project, world_to_camera
from cache.errors import (
    CacheCorrupt,
    CacheError,
    CacheIncomplete,
    CacheMismatch,
    CacheMissing,
    CacheWriteError,
    PlanError,
    SchemaMismatch,
    SkeletonMismatch,
)
from cache.plan import IndexColumn, RowPlan
from cache.schema import (
    FORMAT_VERSION,
    CacheSpec,
    FrameStatus,
    LevelSpec,
    choose_shard_rows,
)
from cache.skeletons import SKELETONS, Skeleton, convert_keypoints, get_skeleton

__all__ = [
    "FORMAT_VERSION",
    "SKELETONS",
    "CacheCorrupt",
    "CacheError",
    "CacheIncomplete",
    "CacheMismatch",
    "CacheMissing",
    "CacheSpec",
    "CacheWriteError",
    "Camera",
    "FrameStatus",
    "IndexColumn",
    "LevelSpec",
    "PlanError",
    "RowPlan",
    "SchemaMismatch",
    "Skeleton",
    "SkeletonMismatch",
    "choose_shard_rows",
    "convert_keypoints",
    "get_skeleton",
    "project",
    "world_to_camera",
]
