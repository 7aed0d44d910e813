"""Blocks of rows from shards that are compressed, or that are objects and not files.

Each block is one range of a shard: its inner chunks lie side by side. Checksums are compared before
anything is decoded. zarr reads the same bytes, but pays two requests and a millisecond for every
inner chunk, and its zarrs pipeline passes over the checksums of the inner chunks of a shard.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numcodecs import blosc, zstd
from numpy.typing import NDArray

from cache import schema
from cache.errors import CacheCorrupt
from cache.maps.blocks import rows_of_bytes
from cache.maps.shard_files import damage_message
from cache.maps.shards import (
    Bytes,
    DamagedBytes,
    checksum_fits,
    parse_shard_index,
    shard_index_bytes,
)
from cache.schema import CRC_BYTES, CacheSpec, Codec, LevelSpec
from cache.storage import Storage

# A request costs some ten milliseconds and then flows: blocks this large spend most of the time
# on bytes, and are still small enough that a window of many of them fits into memory.
REQUEST_BYTES = 4 << 20

DECODERS: Mapping[Codec, Callable[[Bytes], bytes | Bytes]] = {
    "raw": lambda content: content,
    "zstd": zstd.decompress,
    "blosc": blosc.decompress,
}
"""Bytes of an inner chunk, without its checksum, to those of its maps."""


class ShardBlocks:
    """Reads blocks by the shard's index, which is read once.

    Args:
        storage: of the store.
        spec: its layout.
    """

    def __init__(self, storage: Storage, spec: CacheSpec) -> None:
        self._storage = storage
        self._spec = spec
        is_near = storage.folder is not None
        self.block_rows = spec.inner_rows if is_near else rows_of_bytes(spec, REQUEST_BYTES)
        # Views of a row lie side by side, so that one request brings them all.
        self.block_views = 1 if is_near else spec.num_views
        self.reads_single_maps = spec.inner_rows == 1
        self._indexes: dict[str, NDArray[np.int64]] = {}

    def fetch(self, level: int, rows: range, views: range) -> Bytes:
        """`[rows, views, bytes of a map]` of one chunk; raises `CacheCorrupt`."""
        spec = self._spec
        chosen, chunk = spec.levels[level], rows.start // spec.shard_rows
        first = rows.start % spec.shard_rows // spec.inner_rows
        last = (rows.stop - 1) % spec.shard_rows // spec.inner_rows
        size = schema.map_bytes(chosen, spec.dtype)
        try:
            entries = self._index(chosen, chunk)[first : last + 1, views.start : views.stop]
            blocks = self._decoded(chosen, chunk, entries.reshape(-1, 2), size * spec.inner_rows)
        except (OSError, DamagedBytes) as error:
            raise CacheCorrupt(
                damage_message(self._storage.location, chosen.name, chunk, rows, error)
            ) from error
        maps = blocks.reshape(*entries.shape[:2], spec.inner_rows, size).swapaxes(1, 2)
        return maps.reshape(-1, len(views), size)[: len(rows)]

    def _decoded(
        self, level: LevelSpec, chunk: int, entries: NDArray[np.int64], size_bytes: int
    ) -> Bytes:
        """`[entries, size_bytes]` inner chunks."""
        start, stop = int(entries[:, 0].min()), int(entries.sum(axis=1).max())
        content = np.frombuffer(
            self._storage.read_range(shard_key(level, chunk), start, stop), dtype=np.uint8
        )
        if content.size != stop - start:
            raise DamagedBytes(f"it ends at byte {start + content.size}")
        decode, values = DECODERS[self._spec.codec], np.empty((len(entries), size_bytes), np.uint8)
        for block, (offset, size) in zip(values, (entries - [start, 0]).tolist(), strict=True):
            body, end = content[offset : offset + size - CRC_BYTES], offset + size
            if not checksum_fits(body, content[end - CRC_BYTES : end]):
                raise DamagedBytes("an inner chunk fails its checksum")
            decoded = np.frombuffer(decode(body), dtype=np.uint8)
            if decoded.size != size_bytes:
                raise DamagedBytes(f"an inner chunk has {decoded.size} bytes, not {size_bytes}")
            block[:] = decoded
        return values

    def _index(self, level: LevelSpec, chunk: int) -> NDArray[np.int64]:
        """`[inner chunks, views, 2]` offsets and sizes."""
        spec, key = self._spec, shard_key(level, chunk)
        if key not in self._indexes:
            num_blocks = spec.shard_rows // spec.inner_rows
            tail, size_bytes = self._storage.tail(
                key, shard_index_bytes(num_blocks, spec.num_views)
            )
            present = -(-len(spec.chunk_rows(chunk)) // spec.inner_rows)
            entries = parse_shard_index(
                tail, file_bytes=size_bytes, num_chunks=present * spec.num_views
            )
            self._indexes[key] = entries.reshape(num_blocks, spec.num_views, 2)
        return self._indexes[key]


def shard_key(level: LevelSpec, chunk: int) -> str:
    """Object of a shard."""
    return f"{schema.feature_path(level.name)}/{schema.chunk_key(chunk, 5)}"
