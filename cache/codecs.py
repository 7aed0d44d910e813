"""How feature maps lie in their shards: raw, or compressed for archives and object stores.

Raw maps lie one by one, each followed by its crc32c. Compressed ones are encoded by zarr itself,
in memory, `inner_rows` rows of one view together; their crc32c is the last codec, so that a flipped
bit is found before anything is decoded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.codecs import BloscCodec, BytesCodec, Crc32cCodec, ZstdCodec
from zarr.core.buffer import default_buffer_prototype
from zarr.core.sync import sync
from zarr.storage import MemoryStore

from cache import schema
from cache.files import Part
from cache.schema import CacheSpec, LevelSpec
from cache.shards import shard_parts

_FEATURE_AXES = 5


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
    return {key: [_encoded(spec, level, values)]}


def _compressors(spec: CacheSpec, level: LevelSpec) -> list[Any]:
    if spec.codec == "zstd":
        return [ZstdCodec(level=3)]
    if spec.codec == "blosc":
        itemsize = spec.level_dtype(level).itemsize
        return [BloscCodec(cname="lz4", clevel=5, shuffle="shuffle", typesize=itemsize)]
    return []


def _encoded(spec: CacheSpec, level: LevelSpec, values: NDArray[Any]) -> bytes:
    """One shard as zarr writes it."""
    store = MemoryStore()
    shape = (spec.shard_rows, *values.shape[1:])
    array = zarr.create_array(
        store, shape=shape, dtype=values.dtype.name, zarr_format=3, **array_layout(spec, level)
    )
    padded = np.zeros(shape, dtype=values.dtype)
    padded[: len(values)] = values
    array[...] = padded
    stored = sync(store.get(schema.chunk_key(0, _FEATURE_AXES), default_buffer_prototype()))
    assert stored is not None
    return bytes(stored.to_bytes())
