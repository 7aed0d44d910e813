from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from cache import CacheSpec, LevelSpec, SchemaMismatch, choose_shard_rows
from cache.schema import MAX_SHARD_BYTES_PER_VIEW, map_bytes
from tests.test_cache.factory import LEVELS, make_spec

HRNET_W32 = (
    LevelSpec("x4", 32, 64, 48, 4),
    LevelSpec("x8", 64, 32, 24, 8),
    LevelSpec("x16", 128, 16, 12, 16),
    LevelSpec("x32", 256, 8, 6, 32),
)


def test_spec_survives_json() -> None:
    spec = make_spec(70, views=("plain",), dtype="float32", keypoint_sources=("imported:cpn",))
    assert CacheSpec.from_json(json.loads(json.dumps(spec.to_json()))) == spec


def test_chunks_cover_all_rows_once() -> None:
    spec = make_spec(22)
    assert [row for chunk in range(spec.num_chunks) for row in spec.chunk_rows(chunk)] == list(
        range(22)
    )
    with pytest.raises(IndexError, match="chunk 6 of a store of 6 chunks"):
        spec.chunk_rows(6)


@pytest.mark.parametrize(
    ("levels", "dtype", "rows"),
    [
        (HRNET_W32, "float16", 64),
        (HRNET_W32, "float32", 64),
        ((LevelSpec("big", 64, 256, 192, 4),), "float32", 2),
        ((LevelSpec("huge", 1024, 256, 256, 4),), "float32", 1),
    ],
)
def test_shards_are_powers_of_two_below_the_limit(
    levels: tuple[LevelSpec, ...], dtype: str, rows: int
) -> None:
    assert choose_shard_rows(levels, dtype) == rows
    largest = max(map_bytes(level, dtype) for level in levels)
    assert rows == 1 or rows * largest <= MAX_SHARD_BYTES_PER_VIEW


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard_rows": 48}, "power of two"),
        ({"views": ("flipped",)}, "views are"),
        ({"skeleton": "SMPL25"}, "unknown skeleton"),
        ({"levels": (LEVELS[0], LEVELS[0])}, "named twice"),
        ({"levels": ()}, "at least 1"),
        ({"keypoint_sources": ("cpn",)}, "imported:<name>"),
        ({"dtype": "bfloat16"}, "float16"),
    ],
)
def test_wrong_layouts_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        make_spec(10, **change)
    with pytest.raises(ValidationError, match="greater than 0"):
        make_spec(0)
    with pytest.raises(ValidationError, match="is not a name"):
        LevelSpec("../x4", 1, 1, 1, 1)


def test_a_stored_layout_of_another_release_is_refused() -> None:
    stored = {**make_spec(10).to_json(), "codec": "lzma"}
    with pytest.raises(SchemaMismatch, match="not one of format 1"):
        CacheSpec.from_json(stored)
