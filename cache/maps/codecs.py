"""How feature maps lie in their shards: raw, or compressed for archives and object stores.

Raw maps lie one by one, each followed by its crc32c. Compressed ones lie in inner chunks of
`inner_rows` rows of one view, encoded as zarr's codecs encode them; their crc32c is the last codec,
so that a flipped bit is found before anything is decoded. zarr's own writer gives inner chunks of
the same bytes at a tenth of the speed (0.6 ms each), and orders them along a curve, so that the
views of a row would not lie side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numcodecs import blosc, zstd
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec

from cache import schema
from cache.maps.shards import sealed_shard, shard_parts
from cache.schema import CacheSpec, LevelSpec
from cache.storage.files import Part

_FEATURE_AXES = 5
_ZSTD_LEVEL = 1
"""Levels above it take three times as long for half a percent."""
_BLOSC_LEVEL = 5


def array_layout(spec: CacheSpec, level: LevelSpec) -> dict[str, Any]:
    """Keyword arguments of zarr's `create_array`: chunks, shards and codecs of a level."""
    layout = plain_layout((spec.inner_rows, 1, *level.map_shape))
    return {
        **layout,
        "shards": (spec.shard_rows, spec.num_views, *level.map_shape),
        "compressors": [*_compressors(spec, level), *layout["compressors"]],
    }


def plain_layout(chunks: tuple[int, ...]) -> dict[str, Any]:
    """Keyword arguments of zarr's `create_array` for an array of raw chunks.

    A checksum and no compression: every flipped bit is found, and a row is raw bytes.
    """
    return {
        "chunks": chunks,
        "serializer": BytesCodec(endian="little"),
        "compressors": [Crc32cCodec()],
        "filters": None,
        "fill_value": 0,
        "chunk_key_encoding": {"name": "default", "separator": "."},
        "config": {"write_empty_chunks": True},
    }


def feature_files(
    spec: CacheSpec, level: LevelSpec, chunk: int, values: NDArray[Any]
) -> dict[str, Iterable[Part]]:
    """Objects of a level's chunk by key; the keys are paths inside the store.

    Args:
        spec: layout of the store.
        level: one of its levels.
        chunk: number of the chunk.
        values: `[R, V, H, W, C]` in the level's dtype, R <= shard_rows.
    """
    key = f"{schema.feature_path(level.name)}/{schema.chunk_key(chunk, _FEATURE_AXES)}"
    if spec.codec == "raw":
        return {key: shard_parts(values, spec.shard_rows)}
    num_blocks = spec.shard_rows // spec.inner_rows
    return {key: sealed_shard(_inner_chunks(spec, values), num_blocks * spec.num_views)}


def _compressors(spec: CacheSpec, level: LevelSpec) -> list[Any]:
    if spec.codec == "zstd":
        return [ZstdCodec(level=_ZSTD_LEVEL)]
    if spec.codec == "blosc":
        itemsize = spec.level_dtype(level).itemsize
        return [BloscCodec(cname="lz4", clevel=_BLOSC_LEVEL, shuffle="shuffle", typesize=itemsize)]
    return []


def _inner_chunks(spec: CacheSpec, values: NDArray[Any]) -> Iterator[bytes]:
    """Compressed inner chunks in the order of rows, then views."""
    for start in range(0, len(values), spec.inner_rows):
        for view in range(spec.num_views):
            rows = values[start : start + spec.inner_rows, view]
            little = values.dtype.newbyteorder("<")
            chunk = np.zeros((spec.inner_rows, *rows.shape[1:]), dtype=little)
            chunk[: len(rows)] = rows
            yield _compressed(spec, chunk)


def _compressed(spec: CacheSpec, chunk: NDArray[Any]) -> bytes:
    if spec.codec == "zstd":
        return bytes(zstd.compress(chunk, level=_ZSTD_LEVEL))
    # Blosc's threads leave blocks in the order in which they end; one thread gives the same bytes
    # every time.
    blosc.use_threads = False
    return bytes(blosc.compress(chunk, b"lz4", clevel=_BLOSC_LEVEL, shuffle=blosc.SHUFFLE))
