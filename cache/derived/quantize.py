"""8-bit codes of feature maps: one scale per level and channel, and what the rounding costs.

A value is `code * scale`. Codes are uint8 where a level has no negative value in the whole store,
else int8 symmetric about zero, so that zero stays exactly zero. Scales put the largest magnitude of
a channel on the largest code: nothing is clipped.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache.derived.halves import Widener
from cache.schema import CodeDtype

Float32 = NDArray[np.float32]

_LARGEST_CODE: dict[CodeDtype, int] = {"uint8": 255, "int8": 127}
_TINY = float(np.finfo(np.float32).tiny)
# Magnitudes and signs can be compared as whole numbers, without converting a float16.
_BITS = {2: (np.uint16, 0x7FFF), 4: (np.uint32, 0x7FFFFFFF)}


@dataclass(frozen=True, eq=False)
class ChannelRange:
    """What values a level has.

    Args:
        max_abs: `[C]` largest magnitude of each channel.
        has_negative: whether any value is below zero.
    """

    max_abs: Float32
    has_negative: bool

    def joined(self, other: ChannelRange) -> ChannelRange:
        """The range of both."""
        return ChannelRange(
            np.maximum(self.max_abs, other.max_abs), self.has_negative or other.has_negative
        )

    @property
    def code_dtype(self) -> CodeDtype:
        """Codes that fit the values."""
        return "int8" if self.has_negative else "uint8"

    def scales(self) -> Float32:
        """`[C]` positive; 1 for channels that are zero everywhere."""
        wanted = self.max_abs.astype(np.float64) / _LARGEST_CODE[self.code_dtype]
        # The smallest normal number, because the inverse of a smaller one is infinite.
        return np.where(self.max_abs > 0, np.maximum(wanted, _TINY), 1).astype(np.float32)


def channel_range(maps: NDArray[Any]) -> ChannelRange:
    """The range of finite float16 or float32 maps `[R, V, H, W, C]`."""
    unsigned, magnitude = _BITS[maps.dtype.itemsize]
    words = maps.view(unsigned).reshape(-1, int(np.prod(maps.shape[2:])))
    largest = np.zeros(words.shape[1], dtype=unsigned)
    has_negative = False
    for word in words:  # one map at a time: it stays in the processor's cache
        np.maximum(largest, word & unsigned(magnitude), out=largest)
        has_negative = has_negative or bool(word.max() > magnitude + 1)  # -0.0 is no negative
    per_channel = largest.reshape(-1, maps.shape[-1]).max(axis=0)
    return ChannelRange(per_channel.view(maps.dtype).astype(np.float32), has_negative)


def quantize(maps: NDArray[Any], scales: Float32, dtype: CodeDtype) -> NDArray[Any]:
    """Codes `[R, V, H, W, C]` of maps, rounded to nearest; what lies outside gets the last code.

    Args:
        maps: `[R, V, H, W, C]` float16 or float32.
        scales: `[C]` positive.
        dtype: of the codes.
    """
    largest = _LARGEST_CODE[dtype]
    lowest = 0 if dtype == "uint8" else -largest
    codes = np.empty(maps.shape, dtype=dtype)
    inverse = _per_value(np.reciprocal(scales), maps.shape)
    values = np.empty(inverse.size, dtype=np.float32)
    widen = Widener(inverse.size)
    for source, target in zip(_flat(maps), _flat(codes), strict=True):
        widen(source, values)
        np.multiply(values, inverse, out=values)
        np.rint(values, out=values)
        np.clip(values, lowest, largest, out=values)
        target[:] = values
    return codes


def dequantize(codes: NDArray[Any], scales: Float32) -> Float32:
    """Values float32 of codes `[R, V, H, W, C]`."""
    values = np.empty(codes.shape, dtype=np.float32)
    factors = _per_value(scales, codes.shape)
    for source, target in zip(_flat(codes), _flat(values), strict=True):
        np.multiply(source, factors, out=target)
    return values


@dataclass(frozen=True)
class LevelError:
    """How far the values of a level are from what they were.

    Args:
        max_abs: largest difference.
        rms: root mean square of the differences.
        relative_rms: `rms` as a part of the root mean square of the values.
        worst_channel: that with the largest relative rms.
        worst_relative_rms: its own.
    """

    max_abs: float
    rms: float
    relative_rms: float
    worst_channel: int
    worst_relative_rms: float

    @property
    def sqnr_db(self) -> float | None:
        """Power of the values over that of the differences; None where nothing differs."""
        return -20 * math.log10(self.relative_rms) if self.relative_rms else None


class ErrorSums:
    """Sums over the maps of a level, from which its error follows."""

    def __init__(self, channels: int) -> None:
        self._max_abs = 0.0
        self._count = 0
        self._squares = np.zeros((2, channels))  # of the differences, of the values

    def add(self, maps: NDArray[Any], restored: NDArray[Any]) -> None:
        """Count maps `[R, V, H, W, C]` and what is left of them."""
        size = int(np.prod(maps.shape[2:]))
        # float32 is enough for the maps of one chunk; the chunks are added in float64.
        squares = np.zeros((2, size), dtype=np.float32)
        values, difference = np.empty((2, size), dtype=np.float32)
        widen = Widener(size)
        for before, after in zip(_flat(maps), _flat(restored), strict=True):
            widen(before, values)
            if after.dtype == np.float16:
                widen(after, difference)
                after = difference
            np.subtract(after, values, out=difference)
            self._max_abs = max(self._max_abs, float(difference.max()), -float(difference.min()))
            squares[0] += np.square(difference, out=difference)
            squares[1] += np.square(values, out=values)
        per_channel = squares.reshape(2, -1, maps.shape[-1])
        self._squares += per_channel.sum(axis=1, dtype=np.float64)
        self._count += maps.size

    def merge(self, other: ErrorSums) -> None:
        """Count what another one has counted."""
        self._max_abs = max(self._max_abs, other._max_abs)
        self._count += other._count
        self._squares += other._squares

    def error(self) -> LevelError:
        """The error of everything counted; zero if that is nothing."""
        differences, values = self._squares
        # A channel of zeros has no error; it must not divide by zero either.
        per_channel = np.sqrt(differences / np.where(values > 0, values, 1))
        worst = int(per_channel.argmax())
        total = float(values.sum())
        return LevelError(
            max_abs=self._max_abs,
            rms=float(np.sqrt(differences.sum() / max(self._count, 1))),
            relative_rms=float(np.sqrt(differences.sum() / total)) if total else 0.0,
            worst_channel=worst,
            worst_relative_rms=float(per_channel[worst]),
        )


def _flat(maps: NDArray[Any]) -> NDArray[Any]:
    """`[R * V, H * W * C]`, one map after the other: it stays in the processor's cache."""
    return maps.reshape(-1, int(np.prod(maps.shape[2:])))


def _per_value(per_channel: Float32, shape: tuple[int, ...]) -> Float32:
    """`[H * W * C]`: long inner loops are what makes numpy fast."""
    return np.tile(per_channel, int(np.prod(shape[2:4])))
