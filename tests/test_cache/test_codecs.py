from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from cache.derived.halves import Widener, widened
from cache.derived.quantize import ChannelRange, channel_range, dequantize, quantize
from cache.maps.codecs import array_layout, feature_files
from cache.schema import LevelSpec
from tests.test_cache.factory import LEVELS, make_spec

CODECS = [("raw", 1), ("zstd", 1), ("zstd", 8), ("blosc", 2), ("blosc", 8)]


@pytest.mark.parametrize(("codec", "inner_rows"), CODECS)
@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int8"])
@pytest.mark.parametrize("num_rows", [5])
def test_zarr_reads_what_was_encoded(
    tmp_path: Path, codec: str, inner_rows: int, dtype: str, num_rows: int
) -> None:
    is_code = dtype in ("uint8", "int8")
    level = LevelSpec("x4", 3, 4, 5, 4, dtype if is_code else None)  # type: ignore[arg-type]
    spec = make_spec(
        16,
        levels=(level,),
        shard_rows=8,
        codec=codec,
        inner_rows=inner_rows,
        dtype="float16" if is_code else dtype,
    )
    shape = (num_rows, 2, *level.map_shape)
    values = np.random.default_rng(0).integers(0, 100, shape).astype(dtype)
    array = zarr.open_group(tmp_path, mode="w").create_array(
        "features/x4", shape=(16, *shape[1:]), dtype=dtype, **array_layout(spec, level)
    )
    for key, parts in feature_files(spec, level, 1, values).items():
        (tmp_path / key).write_bytes(b"".join(bytes(part) for part in parts))
    np.testing.assert_array_equal(array[8 : 8 + num_rows], values)


@pytest.mark.parametrize(("codec", "inner_rows"), CODECS)
def test_equal_maps_give_equal_bytes(codec: str, inner_rows: int) -> None:
    spec = make_spec(16, shard_rows=8, codec=codec, inner_rows=inner_rows)
    values = np.random.default_rng(0).normal(size=(8, 2, *LEVELS[0].map_shape)).astype("float16")
    encoded = [
        {
            key: b"".join(bytes(part) for part in parts)
            for key, parts in feature_files(spec, LEVELS[0], 0, maps).items()
        }
        for maps in (values, values.copy())
    ]
    assert encoded[0] == encoded[1]


def maps_like(kind: str, dtype: str) -> np.ndarray[Any, Any]:
    values = np.random.default_rng(1).normal(size=(6, 2, 4, 5, 7)) * np.logspace(-3, 3, 7)
    if kind == "positive":
        values = np.abs(values)
    values[..., 2] = 0.0
    values[0, 0, 0, 0, 3] = -0.0
    return values.astype(dtype)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize(("kind", "code"), [("positive", "uint8"), ("signed", "int8")])
def test_codes_reach_the_largest_value_and_are_half_a_step_off_at_most(
    dtype: str, kind: str, code: str
) -> None:
    maps = maps_like(kind, dtype)
    found = channel_range(maps)
    assert found.code_dtype == code
    np.testing.assert_array_equal(
        found.max_abs, np.abs(maps.astype(np.float32)).reshape(-1, 7).max(axis=0)
    )
    scales = found.scales()
    codes = quantize(maps, scales, found.code_dtype)
    assert codes.dtype == code
    restored = dequantize(codes, scales)
    assert (np.abs(restored - maps.astype(np.float64)) <= scales * 0.5001).all()
    assert (restored[maps == 0] == 0).all()
    assert np.abs(codes.astype(int)).max() == (255 if code == "uint8" else 127)


def test_what_lies_outside_the_range_gets_the_last_code() -> None:
    scales = np.full(2, 0.5, dtype=np.float32)
    maps = np.array([1000.0, -1000.0], dtype=np.float32).reshape(1, 1, 1, 1, 2)
    assert quantize(maps, scales, "int8").ravel().tolist() == [127, -127]
    assert quantize(maps, scales, "uint8").ravel().tolist() == [255, 0]


def test_a_channel_of_the_smallest_numbers_stays_finite() -> None:
    smallest = np.full((1, 1, 1, 1, 1), np.finfo(np.float32).smallest_subnormal, dtype=np.float32)
    scales = channel_range(smallest).scales()
    assert np.isfinite(np.reciprocal(scales)).all()
    assert np.isfinite(dequantize(quantize(smallest, scales, "uint8"), scales)).all()


def test_ranges_of_chunks_join_to_that_of_the_whole() -> None:
    maps = maps_like("signed", "float16")
    whole = channel_range(maps)
    first, rest = channel_range(maps[:1]), channel_range(maps[1:])
    joined = first.joined(rest)
    np.testing.assert_array_equal(joined.max_abs, whole.max_abs)
    assert joined.has_negative == whole.has_negative
    positive = ChannelRange(np.ones(7, dtype=np.float32), has_negative=False)
    assert positive.joined(whole).has_negative


def test_every_float16_is_widened_as_numpy_does_it() -> None:
    words = np.arange(2**16, dtype=np.uint16)
    finite = words[(words & 0x7C00) != 0x7C00]
    for chosen in (finite, words):
        halves = chosen.view(np.float16)
        found = np.empty(halves.size, dtype=np.float32)
        Widener(halves.size)(halves, found)
        np.testing.assert_array_equal(
            found.view(np.uint32), halves.astype(np.float32).view(np.uint32)
        )


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8"])
def test_maps_are_widened_in_a_copy(dtype: str) -> None:
    maps = (np.random.default_rng(0).random((3, 2, 4, 5, 7)) * 100).astype(dtype)
    before = maps.copy()
    found = widened(maps)
    np.testing.assert_array_equal(found, maps.astype(np.float32))
    found += 1
    np.testing.assert_array_equal(maps, before)
