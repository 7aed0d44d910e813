"""Where the maps of batches come from: the store, memory, or nowhere."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from cache import CacheReader

LOAD_BYTES = 64 << 20


class MapSource(Protocol):
    """Maps of the samples of one split; usable from several threads."""

    def gather(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        """Returns a map [B, H, W, C] per level, of the samples [B] in the views [B]."""

    def recycle(self, levels: list[Tensor]) -> None:
        """Takes the maps of a batch back; nobody may read them any more."""


class BatchMemory:
    """Tensors [B, H, W, C] per level, used again where that is faster.

    A fresh tensor of this size costs a page fault per 4 kB, several times the copy into it. Page-
    locked memory is never handed back here: its copy to a GPU may still be under way, and torch
    itself uses it again once that has ended.
    """

    def __init__(self, reader: CacheReader, level_names: Sequence[str], *, pin: bool) -> None:
        self.level_names = tuple(level_names)
        self._shapes = [reader.levels[name].map_shape for name in level_names]
        self._dtypes = [torch_dtype(reader, name) for name in level_names]
        self._pin = pin
        # By the rows that they have room for.
        self._free: defaultdict[int, deque[list[Tensor]]] = defaultdict(deque)

    def take(self, num_rows: int) -> list[Tensor]:
        """Returns tensors of `num_rows` rows; their values are left over."""
        # Powers of two: few sizes serve batches of any. Memory that nothing was written to costs
        # nothing. A batch begins where its memory does, for the alignment of tensors is part of
        # what decides float words.
        room = num_rows if self._pin else 1 << max(num_rows - 1, 0).bit_length()
        try:
            levels = self._free[room].pop()
        except IndexError:
            levels = [
                torch.empty((room, *shape), dtype=dtype, pin_memory=self._pin)
                for shape, dtype in zip(self._shapes, self._dtypes, strict=True)
            ]
        return [level[:num_rows] for level in levels]

    def give(self, levels: list[Tensor]) -> None:
        """Takes tensors back."""
        if levels and not self._pin:
            whole = [_whole(level) for level in levels]
            self._free[len(whole[0])].append(whole)


class StoredMaps:
    """Reads every batch from the store."""

    def __init__(
        self,
        reader: CacheReader,
        rows: NDArray[np.int64],  # [n] of the store
        level_names: Sequence[str],
        *,
        pin: bool,
    ) -> None:
        self._reader, self._rows = reader, rows
        self._memory = BatchMemory(reader, level_names, pin=pin)

    def gather(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        """Returns the maps in host memory."""
        levels = self._memory.take(len(chosen))
        names = self._memory.level_names
        if names:
            out = {name: level.numpy() for name, level in zip(names, levels, strict=True)}
            self._reader.read(self._rows[chosen], levels=names, view=views, out=out)
        return levels

    def recycle(self, levels: list[Tensor]) -> None:
        """Keeps the memory for another batch."""
        self._memory.give(levels)


class ResidentMaps:
    """Holds the maps of the samples in memory, on the host or on a CUDA device.

    Args:
        reader: where they are read from, once.
        rows: [n] of the store.
        level_names: the levels to hold.
        first: position in the split of the first of these rows, which follow each other in it.
        num_views: the first views of the store, 1 or 2.
        device: where they are held; batches are gathered there.
        pin: whether batches on the host are to lie in page-locked memory.
        report: called with the number of bytes of every step of reading.
    """

    def __init__(
        self,
        reader: CacheReader,
        rows: NDArray[np.int64],
        level_names: Sequence[str],
        *,
        first: int = 0,
        num_views: int,
        device: torch.device,
        pin: bool,
        report: Callable[[int], None],
    ) -> None:
        self._device, self._num_views, self._first = device, num_views, first
        self._memory = BatchMemory(reader, level_names, pin=pin)
        self._levels = [  # [n * V, H, W, C], the views of a sample side by side
            torch.empty(
                (len(rows) * num_views, *reader.levels[name].map_shape),
                dtype=torch_dtype(reader, name),
                device=device,
            )
            for name in level_names
        ]
        self._load(reader, rows, report)

    def gather(self, chosen: NDArray[np.int64], views: NDArray[np.int64]) -> list[Tensor]:
        """Returns the maps, where they are held."""
        places = torch.from_numpy((chosen - self._first) * self._num_views + views)
        if self._device.type == "cpu":
            levels = self._memory.take(len(chosen))
            for held, level in zip(self._levels, levels, strict=True):
                torch.index_select(held, 0, places, out=level)
            return levels
        # Queued behind the training step on the same stream; from page-locked memory, so that this
        # thread does not wait for the step.
        places = places.pin_memory().to(self._device, non_blocking=True)
        return [held.index_select(0, places) for held in self._levels]

    def recycle(self, levels: list[Tensor]) -> None:
        """Keeps the memory of a batch on the host for another one."""
        if self._device.type == "cpu":
            self._memory.give(levels)

    def _load(
        self, reader: CacheReader, rows: NDArray[np.int64], report: Callable[[int], None]
    ) -> None:
        row_bytes = sum(held[: self._num_views].nbytes for held in self._levels)
        step = max(1, LOAD_BYTES // row_bytes)
        names, views = self._memory.level_names, np.arange(self._num_views)
        for start in range(0, len(rows), step):
            some = rows[start : start + step]
            places = slice(start * self._num_views, (start + len(some)) * self._num_views)
            parts = [held[places] for held in self._levels]
            targets = parts
            if self._device.type != "cpu":
                targets = self._memory.take(len(some) * self._num_views)
            reader.read(
                np.repeat(some, self._num_views),
                levels=names,
                view=np.tile(views, len(some)),
                out={name: target.numpy() for name, target in zip(names, targets, strict=True)},
            )
            if targets is not parts:
                for part, target in zip(parts, targets, strict=True):
                    part.copy_(target)
            report(sum(part.nbytes for part in parts))


class ZeroMaps:
    """Maps without content, for lifters that are to see none."""

    def __init__(
        self, reader: CacheReader, level_names: Sequence[str], *, device: torch.device
    ) -> None:
        self._shapes = [
            (reader.levels[name].map_shape, torch_dtype(reader, name)) for name in level_names
        ]
        self._device = device
        self._zeros: list[Tensor] = []

    def gather(
        self,
        chosen: NDArray[np.int64],
        views: NDArray[np.int64],  # noqa: ARG002 - zero in every view
    ) -> list[Tensor]:
        """Returns zeros, the same ones for every batch: maps are frozen."""
        zeros = self._zeros
        if self._shapes and (not zeros or len(zeros[0]) < len(chosen)):
            zeros = self._zeros = [
                torch.zeros((len(chosen), *shape), dtype=dtype, device=self._device)
                for shape, dtype in self._shapes
            ]
        return [level[: len(chosen)] for level in zeros]

    def recycle(self, levels: list[Tensor]) -> None:
        """Leaves them for the next batch."""


def _whole(level: Tensor) -> Tensor:
    """Returns the tensor that `level` is the beginning of."""
    row = level.stride(0) * level.element_size()
    rooms = level.untyped_storage().nbytes() // row
    return level.as_strided((rooms, *level.shape[1:]), level.stride())


def torch_dtype(reader: CacheReader, name: str) -> torch.dtype:
    """Returns the type of a level's maps as they are read."""
    dtype = getattr(torch, reader.level_dtype(name).name)
    assert isinstance(dtype, torch.dtype)
    return dtype


def level_scales(
    reader: CacheReader, level_names: Sequence[str], device: torch.device
) -> list[Tensor] | None:
    """Returns per level [C] what 8-bit codes are multiplied by, 1 for other maps; None for none."""
    found = [reader.scales(name) for name in level_names]
    if all(scale is None for scale in found):
        return None
    return [
        torch.ones(reader.levels[name].channels, device=device)
        if scale is None
        else torch.tensor(scale, device=device)
        for name, scale in zip(level_names, found, strict=True)
    ]
