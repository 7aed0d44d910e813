"""Bytes of Zarr chunks and shards as format 1 lays them out; no files, no Zarr.

A chunk is its raw little-endian array and 4 bytes of crc32c. A shard is one such chunk per row and
view, followed by an index of (offset, size) pairs of uint64 over its [rows, views] and the index's
own crc32c. Rows that a last, shorter shard lacks have the index entry (2^64 - 1, 2^64 - 1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import google_crc32c
import numpy as np
from numpy.typing import NDArray

from cache.schema import CRC_BYTES

Bytes = NDArray[np.uint8]

_INDEX_ENTRY_BYTES = 16
_ABSENT = np.uint64(2**64 - 1)
# Exponent bits of all numbers in a 64-bit word; what carries into a sign bit iff all its exponent
# bits are set; the sign bits.
_EXPONENTS = {
    2: (0x7C007C007C007C00, 0x0400040004000400, 0x8000800080008000),
    4: (0x7F8000007F800000, 0x0080000000800000, 0x8000000080000000),
}


class DamagedBytes(Exception):
    """Stored bytes are not what was written; the message is the reason."""


def _crc(data: Bytes | bytes) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(CRC_BYTES, "little")


def as_bytes(array: NDArray[Any]) -> Bytes:
    """The little-endian bytes of an array in C order, `[size]`; a view where possible."""
    little = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
    return little.reshape(-1).view(np.uint8)


def all_finite(data: Bytes, itemsize: int) -> bool:
    """Whether float16 or float32 numbers, given as bytes, have no NaN and no infinity.

    `numpy.isfinite` converts every float16 (0.9 GB/s); testing the exponent bits of whole 64-bit
    words is ten times as fast.
    """
    exponents, carry, signs = (np.uint64(bits) for bits in _EXPONENTS[itemsize])
    whole = data.size // 8 * 8
    words = data[:whole].view(np.uint64) & exponents
    words += carry
    words &= signs
    if words.any():
        return False
    rest = data[whole:].view(f"<f{itemsize}")
    return bool(np.isfinite(rest).all())


def chunk_parts(array: NDArray[Any], num_rows: int) -> Iterator[Bytes | bytes]:
    """Bytes of a chunk of `num_rows` rows; a shorter array is filled up with zeros."""
    padded = np.zeros((num_rows, *array.shape[1:]), dtype=array.dtype)
    padded[: len(array)] = array
    data = as_bytes(padded)
    yield data
    yield _crc(data)


def parse_chunk(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The array of a chunk's bytes; raises `DamagedBytes`."""
    size = int(np.prod(shape)) * dtype.itemsize
    if len(data) != size + CRC_BYTES:
        raise DamagedBytes(f"the file has {len(data)} bytes instead of {size + CRC_BYTES}")
    if _crc(data[:size]) != data[size:]:
        raise DamagedBytes("checksum mismatch")
    return np.frombuffer(data, dtype=dtype.newbyteorder("<"), count=size // dtype.itemsize).reshape(
        shape
    )


def shard_parts(features: NDArray[Any], shard_rows: int) -> Iterator[Bytes | bytes]:
    """Bytes of a shard of maps `[R, V, H, W, C]`, R <= shard_rows."""
    num_rows, num_views = features.shape[:2]
    maps = as_bytes(features).reshape(num_rows * num_views, -1)
    return sealed_shard(maps, shard_rows * num_views)


def sealed_shard(chunks: Iterable[Bytes | bytes], num_entries: int) -> Iterator[Bytes | bytes]:
    """Bytes of a shard of encoded inner chunks: each with its checksum, then the index.

    Args:
        chunks: in the order of their entries; the entries behind the last are absent.
        num_entries: of the index.
    """
    index = np.full((num_entries, 2), _ABSENT, dtype="<u8")
    offset = 0
    for number, data in enumerate(chunks):
        yield data
        yield _crc(data)
        size = len(data) + CRC_BYTES
        index[number] = offset, size
        offset += size
    yield as_bytes(index)
    yield _crc(as_bytes(index))


def shard_index_bytes(num_blocks: int, num_views: int) -> int:
    """Size of the index at the end of a shard of `[blocks, views]` inner chunks, crc included."""
    return num_blocks * num_views * _INDEX_ENTRY_BYTES + CRC_BYTES


def parse_index_entries(tail: bytes) -> NDArray[np.int64]:
    """`[entries, 2]` offset and size of each inner chunk, -1 for one that is not there.

    Args:
        tail: the last `shard_index_bytes` of the file, or less if the file has less.

    Raises:
        DamagedBytes: its checksum does not fit.
    """
    index = tail[:-CRC_BYTES]
    if _crc(index) != tail[-CRC_BYTES:]:
        raise DamagedBytes("the shard index fails its checksum (truncated or damaged file)")
    return np.frombuffer(index, dtype="<i8").reshape(-1, 2).astype(np.int64)


def parse_shard_index(tail: bytes, *, file_bytes: int, num_chunks: int) -> NDArray[np.int64]:
    """`[entries, 2]` offset and size of each inner chunk; raises `DamagedBytes`.

    Args:
        tail: the last `shard_index_bytes` of the file, or less if the file has less.
        file_bytes: size of the file.
        num_chunks: entries that must point to a chunk; those behind them are -1.
    """
    entries = parse_index_entries(tail)
    entries[num_chunks:] = -1
    offsets, sizes = entries[:num_chunks].T
    limit = file_bytes - len(tail)
    if (offsets < 0).any() or (sizes < CRC_BYTES).any() or (offsets > limit - sizes).any():
        raise DamagedBytes("the shard index points outside the file")
    return entries


def map_offsets(entries: NDArray[np.int64], map_size_bytes: int) -> NDArray[np.int64]:
    """Offsets of raw maps, -1 for rows that a shorter shard lacks; raises `DamagedBytes`."""
    present = entries[entries[:, 0] >= 0]
    if (present[:, 1] != map_size_bytes + CRC_BYTES).any():
        raise DamagedBytes("the shard index has maps of another size")
    return np.ascontiguousarray(entries[:, 0])


def checksum_fits(data: Bytes, stored: Bytes) -> bool:
    """Whether the 4 bytes stored behind a map are its checksum."""
    return _crc(data) == stored.tobytes()


def map_is_intact(shard: Bytes, offset: int, map_size_bytes: int) -> bool:
    """Whether the map at `offset` has the checksum that follows it."""
    end = offset + map_size_bytes
    return checksum_fits(shard[offset:end], shard[end : end + CRC_BYTES])
