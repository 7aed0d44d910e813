"""A store of made-up maps in the sizes of HRNet-W32, for the benchmarks that read and write."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from cache import (
    CacheSpec,
    CacheWriter,
    Camera,
    ChunkData,
    IndexColumn,
    LevelSpec,
    RowPlan,
    choose_shard_rows,
)

LEVELS = (
    LevelSpec("x4", 32, 64, 48, 4),
    LevelSpec("x8", 64, 32, 24, 8),
    LevelSpec("x16", 128, 16, 12, 16),
    LevelSpec("x32", 256, 8, 6, 32),
)
ROW_BYTES = 2 * sum(2 * level.height * level.width * level.channels for level in LEVELS)
"""Bytes of the maps of one row in both views."""


def made_spec(num_rows: int) -> CacheSpec:
    """Layout of both views of HRNet-W32 at 256 x 192 in float16."""
    return CacheSpec(
        num_rows=num_rows,
        levels=LEVELS,
        skeleton="H36M17",
        crop_size=(256, 192),
        shard_rows=choose_shard_rows(LEVELS),
    )


def made_plan(num_rows: int) -> RowPlan:
    """Row table of one long clip."""
    rows = np.arange(num_rows)
    same = IndexColumn(np.zeros(num_rows, dtype=np.int32))
    word = IndexColumn(np.zeros(num_rows, dtype=np.int32), ("made",))
    return RowPlan(
        skeleton="H36M17",
        joints_2d_px=np.zeros((num_rows, 17, 2), dtype=np.float32),
        joints_3d_mm=np.zeros((num_rows, 17, 3), dtype=np.float32),
        valid=np.ones((num_rows, 17), dtype=np.bool_),
        index={
            **dict.fromkeys(("split", "subject", "action", "subaction", "clip"), word),
            **dict.fromkeys(("camera", "person"), same),
            "frame": IndexColumn(rows.astype(np.int32)),
            "item": IndexColumn.from_words([f"picture {row}" for row in rows]),
        },
        image_size=np.tile(np.array([[1002, 1000]], dtype=np.int32), (num_rows, 1)),
        cameras=(Camera("made", np.diag([900.0, 900, 1]), np.eye(3), np.zeros(3), fps=None),),
    )


def made_chunk(spec: CacheSpec, rows: range, rng: np.random.Generator) -> ChunkData:
    """Numbers like those behind a ReLU: half of them zero."""
    size, views = len(rows), spec.num_views
    features = {}
    for level in spec.levels:
        shape = (size, views, *level.map_shape)
        values = rng.standard_normal(shape, dtype=np.float32)
        features[level.name] = np.maximum(values, 0, out=values).astype(np.float16)
    return ChunkData(
        features=features,
        keypoints={
            source: np.zeros((size, views, 17, 3), np.float32) for source in spec.keypoint_sources
        },
        crop_affine=np.zeros((size, views, 2, 3)),
        status=np.zeros(size, dtype=np.uint8),
    )


def write_made_store(folder: Path, num_rows: int) -> Path:
    """Write the whole store."""
    spec, rng = made_spec(num_rows), np.random.default_rng(0)
    with CacheWriter.open(
        folder,
        spec=spec,
        plan=made_plan(num_rows),
        feature_identity={"made": True},
        content_identity={"made": True},
    ) as writer:
        for chunk in writer.missing_chunks():
            writer.write_chunk(chunk, made_chunk(spec, spec.chunk_rows(chunk), rng))
    return folder
