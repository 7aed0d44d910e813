"""Copying maps from shard files into the arrays of a batch, through `gather.c` where it was built.

The kernel shares a batch among threads without Python's lock, so that a loader's thread neither
waits for the training loop nor holds it up, and costs little for maps of a few kB. Without it,
`os.preadv` does the same.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, cached_property, partial
from importlib.machinery import EXTENSION_SUFFIXES
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.maps.shards import Bytes
from cache.threads import share

TODO, DONE, COLD, FAILED, UNKNOWN = range(5)
_MAX_BLOCK_ROWS = 64
_BLOCK_BYTES = 1 << 20
# Handing work to another thread costs as much as copying some hundred kB.
_BYTES_PER_THREAD = 4 << 20
_PROBED_ROWS = 16
_NO_WAIT: int | None = getattr(os, "RWF_NOWAIT", None)

SHARD_DTYPE = np.dtype(
    [(name, "u8") for name in ("address", "offsets")]
    + [(name, "i8") for name in ("inode", "bytes", "modified_ns", "descriptor")]
)
"""What is known of a shard file, `Shard` of the kernel.

`address` and `descriptor` are 0 and -1 unless the file is kept open; `offsets` is the address of
int64 offsets, 0 where they are not known.
"""


class _Level(ctypes.Structure):
    """`Level` of the kernel."""

    _fields_ = (
        ("prefix", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("shards", "checked", "target")),
        ("size", ctypes.c_int64),
    )


@dataclass(frozen=True, eq=False)
class LevelFiles:
    """The shard files of one level of one store.

    Args:
        prefix: their paths up to their number.
        suffix: of the paths, behind the number.
        shards: `[num_chunks]` of `SHARD_DTYPE`.
        checked: `[num_chunks, num_slots]` bool, maps whose checksum is known to fit.
    """

    prefix: str
    suffix: str
    shards: NDArray[Any]
    checked: NDArray[np.bool_]

    @cached_property
    def kernel_arguments(self) -> tuple[bytes, int, int]:
        """The first fields of `Level`."""
        return os.fsencode(self.prefix), self.shards.ctypes.data, self.checked.ctypes.data


@dataclass(frozen=True, eq=False)
class Batch:
    """What is copied from one store, and what became of it.

    Args:
        files: per level.
        targets: per level `[.., bytes of a map]`, C-contiguous.
        chunks: `[B]` int64, equal ones side by side.
        slots: `[B]` int64, row * V + view inside the chunk.
        positions: `[B]` int64, rows of the targets.
        states: `[L, B]` uint8, 0 at first, then `DONE`, `UNKNOWN` where the offset is not known, or
            `FAILED`: the file is another one by now, or cannot be read.
        sums: `[L, B, 4]` uint8, the checksums that follow maps which are not `checked`.
    """

    files: tuple[LevelFiles, ...]
    targets: tuple[Bytes, ...]
    chunks: NDArray[np.int64]
    slots: NDArray[np.int64]
    positions: NDArray[np.int64]
    states: Bytes
    sums: Bytes

    def is_checked(self) -> NDArray[np.bool_]:
        """`[L, B]` whether the checksums of the maps are known to fit."""
        return np.stack([files.checked[self.chunks, self.slots] for files in self.files])

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, all levels."""
        return sum(target.shape[1] for target in self.targets)


@dataclass(frozen=True)
class Outcome:
    """What became of a batch.

    Args:
        num_cold: maps that were not in memory.
        num_failed: maps that could not be copied, `FAILED` or `UNKNOWN` in the states.
        num_unchecked: maps that were copied and are not `checked`.
    """

    num_cold: int
    num_failed: int
    num_unchecked: int


def gather(batch: Batch, *, threads: int, queue_depth: int, all_warm: bool) -> Outcome:
    """Copy the maps of a batch.

    Args:
        batch: what to copy; its targets, states and sums are filled.
        threads: for what lies in memory.
        queue_depth: threads that wait for the disk, which has then been told everything it is
            going to be asked for.
        all_warm: whether it is likely that everything lies in memory; where it does not, only
            time is lost.
    """
    threads = min(threads, len(batch.chunks) * batch.row_bytes // _BYTES_PER_THREAD)
    kernel = _kernel()
    if kernel is None:
        _share_maps(batch, TODO, threads)
        num_cold = int(np.count_nonzero(batch.states == COLD))
        _share_maps(batch, COLD, min(queue_depth, num_cold))
        done = batch.states == DONE
        return Outcome(num_cold, int((~done).sum()), int((done & ~batch.is_checked()).sum()))
    call, _alive = _describe(batch)
    call.probed_rows = _PROBED_ROWS if all_warm else 1
    share(partial(kernel.posecache_gather, ctypes.byref(call), TODO), threads)
    num_cold = call.cold
    if num_cold:
        # Row by row: as many reads as there are threads.
        call.next, call.block = 0, 1
        share(
            partial(kernel.posecache_gather, ctypes.byref(call), COLD), min(queue_depth, num_cold)
        )
    return Outcome(num_cold, call.failed, call.unchecked)


def map_file(descriptor: int, size_bytes: int) -> int:
    """Address of the mapped file, 0 where there is no kernel to copy from it."""
    kernel = _kernel()
    if kernel is None:
        return 0
    return kernel.posecache_map(ctypes.c_int64(descriptor), ctypes.c_int64(size_bytes)) or 0


def unmap_file(address: int, size_bytes: int) -> None:
    """Take a map back; nobody may be reading from it."""
    kernel = _kernel()
    assert kernel is not None
    kernel.posecache_unmap(ctypes.c_void_p(address), ctypes.c_int64(size_bytes))


def file_identity(state: os.stat_result) -> tuple[int, int, int]:
    """What changes when a file is replaced or written to: inode, bytes, ns of the last change."""
    return (state.st_ino, state.st_size, state.st_mtime_ns)


@cache
def _kernel() -> ctypes.CDLL | None:
    for suffix in EXTENSION_SUFFIXES:
        path = Path(__file__).with_name(f"_gather{suffix}")
        if path.exists():
            kernel = ctypes.CDLL(str(path))
            kernel.posecache_map.restype = ctypes.c_void_p
            return kernel
    return None


class _Gather(ctypes.Structure):
    """`Gather` of the kernel."""

    _fields_ = (
        ("levels", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("num_levels", "largest")),
        *((name, ctypes.c_int64) for name in ("num_rows", "num_slots", "block")),
        ("suffix", ctypes.c_char_p),
        *((name, ctypes.c_void_p) for name in ("chunks", "slots", "positions", "states", "sums")),
        *(
            (name, ctypes.c_int64)
            for name in ("next", "probed_rows", "cold", "failed", "unchecked")
        ),
    )


def _describe(batch: Batch) -> tuple[_Gather, object]:
    """The kernel's argument, and what must live as long as it."""
    sizes = [target.shape[1] for target in batch.targets]
    levels = (_Level * len(sizes))(
        *(
            _Level(*files.kernel_arguments, _address(target), size)
            for files, target, size in zip(batch.files, batch.targets, sizes, strict=True)
        )
    )
    arrays: tuple[NDArray[Any], ...] = (
        batch.chunks,
        batch.slots,
        batch.positions,
        batch.states,
        batch.sums,
    )
    call = _Gather(
        ctypes.addressof(levels),
        len(sizes),
        sizes.index(max(sizes)),
        len(batch.chunks),
        batch.files[0].checked.shape[1],
        max(1, min(_BLOCK_BYTES // batch.row_bytes, _MAX_BLOCK_ROWS)),
        os.fsencode(batch.files[0].suffix),
        *(_address(array) for array in arrays),
    )
    return call, levels


def _address(array: NDArray[Any]) -> int:
    # In a third of the time that numpy's own attributes take.
    return ctypes.addressof(ctypes.c_char.from_buffer(array.data))


def _share_maps(batch: Batch, state: int, threads: int) -> None:
    """What `posecache_gather` of the kernel does."""
    todo = iter(
        [
            place
            for place in product(*map(range, batch.states.shape))
            if batch.states[place] == state
        ]
    )

    def read() -> None:
        for level, row in todo:
            batch.states[level, row] = _read_map(batch, level, row, waiting=state == COLD)

    share(read, threads)


def _read_map(batch: Batch, level: int, row: int, *, waiting: bool) -> int:
    files, chunk = batch.files[level], int(batch.chunks[row])
    shard = files.shards[chunk]
    if not shard["offsets"]:
        return UNKNOWN
    entry = int(shard["offsets"]) + ctypes.sizeof(ctypes.c_int64) * int(batch.slots[row])
    offset = ctypes.c_int64.from_address(entry).value
    parts = [batch.targets[level][batch.positions[row]].data, batch.sums[level, row].data]
    size = sum(len(part) for part in parts)
    try:
        with _opened(files, chunk) as file:
            if waiting:
                return DONE if os.preadv(file, parts, offset) == size else FAILED
            if _NO_WAIT is not None and os.preadv(file, parts, offset, _NO_WAIT) == size:
                return DONE
            os.posix_fadvise(file, offset, size, os.POSIX_FADV_WILLNEED)
            return COLD
    except BlockingIOError:
        return COLD
    except OSError:
        return FAILED


@contextmanager
def _opened(files: LevelFiles, chunk: int) -> Iterator[int]:
    shard = files.shards[chunk]
    if shard["descriptor"] >= 0:
        yield int(shard["descriptor"])
        return
    file = os.open(f"{files.prefix}{chunk}{files.suffix}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if file_identity(os.fstat(file)) != tuple(
            int(shard[name]) for name in ("inode", "bytes", "modified_ns")
        ):
            raise FileNotFoundError(f"{files.prefix}{chunk}{files.suffix} was replaced")
        yield file
    finally:
        os.close(file)
