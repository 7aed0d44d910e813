"""Tiny stores with random maps, written through CacheWriter."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import (
    SKELETONS,
    CacheReader,
    CacheSpec,
    CacheWriter,
    ChunkData,
    FrameStatus,
    IndexColumn,
    LevelSpec,
    RowPlan,
)
from cache.coords import mirror_affine

CROP_SIZE = (64, 48)
IMAGE_SIZE = (96, 128)
LEVELS = (
    LevelSpec(name="x8", channels=6, height=8, width=6, stride=8),
    LevelSpec(name="x16", channels=8, height=4, width=3, stride=16),
)
IDENTITY = {"detector": {"weights": "abc", "name": "random"}, "crop": {"kind": "mmpose"}}
FOCAL_PX = 120.0
RAW = {"dtype": "float16"}
COMPRESSED = {"dtype": "float16", "codec": "zstd", "inner_rows": 4}
SCALES = np.linspace(0.02, 0.05, LEVELS[0].channels, dtype=np.float32)  # of x8 in 8 bits

Encode = Callable[[str, NDArray[np.float16]], NDArray[Any]]


def as_drawn(name: str, values: NDArray[np.float16]) -> NDArray[Any]:  # noqa: ARG001
    return values


def as_codes(name: str, values: NDArray[np.float16]) -> NDArray[Any]:
    if name != "x8":
        return values
    return np.clip(np.rint(values.astype(np.float32) / SCALES), -128, 127).astype(np.int8)


def as_values_of_codes(name: str, values: NDArray[np.float16]) -> NDArray[Any]:
    return (as_codes(name, values) * (SCALES if name == "x8" else 1)).astype(np.float32)


def build_plan(
    splits: Mapping[str, int],
    *,
    clip_length: int = 4,
    seed: int = 0,
    skeleton: str = "H36M17",
    valid: NDArray[np.bool_] | None = None,
) -> RowPlan:
    rng = np.random.default_rng(seed)
    words: dict[str, list[str]] = {name: [] for name in ("split", "action", "clip", "item")}
    frames = []
    for split, count in splits.items():
        for i in range(count):
            clip = i // clip_length
            words["split"].append(split)
            words["action"].append(("Walking", "Sitting", "Waving")[clip % 3])
            words["clip"].append(f"{split}-{clip}")
            words["item"].append(f"{split}-{i}")
            frames.append(i % clip_length)
    num_rows, num_joints = len(frames), SKELETONS[skeleton].num_joints
    root = np.array([0.0, 0.0, 4000.0]) + rng.normal(scale=100.0, size=(num_rows, 1, 3))
    joints_mm = root + rng.normal(scale=300.0, size=(num_rows, num_joints, 3))
    centre_xy = np.array(IMAGE_SIZE[::-1]) / 2
    joints_px = joints_mm[..., :2] / joints_mm[..., 2:] * FOCAL_PX + centre_xy
    zeros = IndexColumn(np.zeros(num_rows, dtype=np.int32), ("only",))
    return RowPlan(
        skeleton=skeleton,
        joints_2d_px=joints_px.astype(np.float32),
        joints_3d_mm=joints_mm.astype(np.float32),
        valid=np.ones((num_rows, num_joints), dtype=bool) if valid is None else valid,
        index={
            **{name: IndexColumn.from_words(column) for name, column in words.items()},
            **dict.fromkeys(("subject", "subaction", "camera", "person"), zeros),
            "frame": IndexColumn(np.array(frames, dtype=np.int32)),
        },
        image_size=np.tile(np.array(IMAGE_SIZE, dtype=np.int32), (num_rows, 1)),
    )


def write_store(
    path: Path,
    splits: Mapping[str, int] | None = None,
    *,
    plan: RowPlan | None = None,
    views: tuple[str, ...] = ("plain", "flipped"),
    status: Mapping[int, FrameStatus] | None = None,
    feature_identity: Mapping[str, Any] = IDENTITY,
    levels: Sequence[LevelSpec] = LEVELS,
    seed: int = 0,
    layout: Mapping[str, Any] = RAW,
    encode: Encode = as_drawn,
    scales: Mapping[str, NDArray[np.float32]] | None = None,
) -> CacheReader:
    """Keypoints `detector` are the labels with 1 px of noise, another noise in each view.

    Equal seeds draw equal maps; `encode` makes of a level's name and float16 values what is stored.
    """
    plan = plan or build_plan(splits or {"train": 24, "validation": 8, "test": 8}, seed=seed)
    rng = np.random.default_rng(seed + 1)
    num_joints = plan.joints_2d_px.shape[1]
    spec = CacheSpec(
        num_rows=len(plan),
        levels=tuple(levels),
        skeleton=plan.skeleton,
        crop_size=CROP_SIZE,
        views=views,
        keypoint_sources=("detector", "gt"),
        **{"shard_rows": 16, **layout},
    )
    plain = np.array([[0.5, 0.0, -8.0], [0.0, 0.5, 8.0]])
    affine = np.stack([plain, mirror_affine(plain, CROP_SIZE[1])][: len(views)])
    reasons = np.zeros(len(plan), dtype=np.uint8)
    for row, reason in (status or {}).items():
        reasons[row] = reason
    with CacheWriter.open(
        path,
        spec=spec,
        plan=plan,
        feature_identity=dict(feature_identity),
        content_identity={"dataset": "random", "seed": seed},
        scales=scales,
    ) as writer:
        for chunk in writer.missing_chunks():
            rows = np.array(writer.chunk_rows(chunk))
            shape = (len(rows), len(views), num_joints)
            labels = np.ones((*shape, 3), dtype=np.float32)
            labels[..., :2] = plan.joints_2d_px[rows, None]
            noisy = labels.copy()
            noisy[..., :2] += rng.normal(size=(*shape, 2))
            features = {}
            for level in levels:
                map_shape = (len(rows), len(views), level.height, level.width, level.channels)
                features[level.name] = rng.normal(size=map_shape).astype(np.float16)
                # The first value names the row and the view, so that tests know whose map it is.
                features[level.name][:, :, 0, 0, 0] = rows[:, None] + 0.25 * np.arange(len(views))
            writer.write_chunk(
                chunk,
                ChunkData(
                    features={name: encode(name, maps) for name, maps in features.items()},
                    keypoints={"detector": noisy, "gt": labels},
                    crop_affine=np.broadcast_to(affine, (len(rows), *affine.shape)).copy(),
                    status=reasons[rows],
                ),
            )
    return CacheReader(path)


def write_codes(path: Path, **options: Any) -> CacheReader:
    """x8 in 8 bits with a scale per channel; x16 in float16."""
    levels = (replace(LEVELS[0], dtype="int8"), LEVELS[1])
    return write_store(path, levels=levels, encode=as_codes, scales={"x8": SCALES}, **options)


def write_values_of_codes(path: Path, **options: Any) -> CacheReader:
    """What the codes of `write_codes` stand for, in float32."""
    return write_store(path, encode=as_values_of_codes, layout={"dtype": "float32"}, **options)
