"""Small plans, layouts and chunks; numbers follow from the row, so that copies can be checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from cache import (
    CacheSpec,
    CacheWriter,
    Camera,
    ChunkData,
    FrameStatus,
    IndexColumn,
    LevelSpec,
    RowPlan,
)
from cache.schema import chunk_arrays, feature_path
from cache.storage import Location

Place = TypeVar("Place", bound=Location)

FEATURE_IDENTITY: dict[str, Any] = {
    "detector": {"weights": "aa11", "taps": ["x4", "x8"]},
    "crop": 1.25,
}
CONTENT_IDENTITY: dict[str, Any] = {"adapter": "toy", "annotations": "bb22"}
LEVELS = (LevelSpec("x4", 4, 6, 5, 4), LevelSpec("x8", 8, 3, 2, 8))


def make_plan(num_rows: int, *, clip_rows: int = 5, num_cameras: int = 2, seed: int = 0) -> RowPlan:
    random = np.random.default_rng(seed)
    rows = np.arange(num_rows)
    clips = rows // clip_rows
    numbers = {
        "camera": clips % num_cameras,
        "person": 0 * rows,
        "frame": rows % clip_rows * 5 + 1,
    }
    index = {name: IndexColumn(codes.astype(np.int32)) for name, codes in numbers.items()}
    index["split"] = IndexColumn((clips % 3).astype(np.int32), ("train", "validation", "test"))
    index["subject"] = IndexColumn.from_words([f"S{clip % 4}" for clip in clips])
    index["action"] = IndexColumn.from_words([f"action {clip % 7}" for clip in clips])
    index["subaction"] = IndexColumn.from_words([str(clip % 2) for clip in clips])
    index["clip"] = IndexColumn.from_words([f"clip {clip}" for clip in clips])
    index["item"] = IndexColumn.from_words([f"seed {seed} picture {row}" for row in rows])
    cameras = tuple(
        Camera(
            f"camera {i}", np.diag([900.0 + i, 901, 1]), np.eye(3), np.array([0, 1, i]), fps=None
        )
        for i in range(num_cameras)
    )
    return RowPlan(
        skeleton="H36M17",
        joints_2d_px=random.normal(size=(num_rows, 17, 2)).astype(np.float32),
        joints_3d_mm=random.normal(size=(num_rows, 17, 3)).astype(np.float32),
        valid=random.random((num_rows, 17)) < 0.9,
        index=index,
        image_size=np.tile(np.array([[1002, 1000]], dtype=np.int32), (num_rows, 1)),
        cameras=cameras,
    )


def make_spec(num_rows: int, **changes: Any) -> CacheSpec:
    settings: dict[str, Any] = {
        "levels": LEVELS,
        "skeleton": "H36M17",
        "crop_size": (24, 20),
        "shard_rows": 4,
    }
    return CacheSpec(num_rows=num_rows, **{**settings, **changes})


def array_rows(
    spec: CacheSpec, name: str, rows: range | np.ndarray[Any, Any]
) -> np.ndarray[Any, Any]:
    """What row numbers `rows` of an array hold; exact in float16."""
    shape, dtype = chunk_arrays(spec, "H36M17")[name]
    if name == "status":
        return np.array([FrameStatus.MISSING if row % 11 == 10 else 0 for row in rows], dtype=dtype)
    salt = sum(name.encode())
    flat = [
        (np.arange(np.prod(shape, dtype=int)) * 7 + row * 13 + salt) % 1999 - 999 for row in rows
    ]
    return (np.stack(flat).reshape(len(flat), *shape) / 8).astype(dtype)


def make_chunk(spec: CacheSpec, rows: range) -> ChunkData:
    return ChunkData(
        features={
            level.name: array_rows(spec, feature_path(level.name), rows) for level in spec.levels
        },
        keypoints={
            source: array_rows(spec, f"keypoints/{source}", rows)
            for source in spec.keypoint_sources
        },
        crop_affine=array_rows(spec, "crop/affine", rows),
        status=array_rows(spec, "status", rows),
    )


def open_writer(path: Location, spec: CacheSpec, **changes: Any) -> CacheWriter:
    settings: dict[str, Any] = {
        "plan": make_plan(spec.num_rows),
        "feature_identity": FEATURE_IDENTITY,
        "content_identity": CONTENT_IDENTITY,
    }
    return CacheWriter.open(path, spec=spec, **{**settings, **changes})


def write_store(
    path: Place, spec: CacheSpec, chunks: list[int] | None = None, **changes: Any
) -> Place:
    with open_writer(path, spec, **changes) as writer:
        for chunk in writer.missing_chunks() if chunks is None else chunks:
            writer.write_chunk(chunk, make_chunk(spec, writer.chunk_rows(chunk)))
    return path


def store_bytes(path: Path) -> dict[str, bytes]:
    """Content of every file of a store by relative name."""
    return {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }
