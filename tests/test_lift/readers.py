"""Readers that stand for stores of another layout, over the maps of a plain one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cache import CacheReader


class Blocked(CacheReader):
    """A store whose rows are read four at a time."""

    @property
    def block_rows(self) -> int:
        return 4


def channel_scales(channels: int) -> NDArray[np.float32]:
    return np.linspace(0.02, 0.05, channels, dtype=np.float32)


class Quantised(CacheReader):
    """8-bit codes with a scale per channel in the level x8; x16 stays as it is."""

    def level_dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(np.int8) if name == "x8" else super().level_dtype(name)

    def scales(self, name: str) -> NDArray[np.float32] | None:
        return channel_scales(self.levels[name].channels) if name == "x8" else None

    def read(self, rows: Any, *, out: Any = None, **options: Any) -> dict[str, NDArray[Any]]:
        maps = super().read(rows, **options)
        if "x8" in maps:
            scales = channel_scales(self.levels["x8"].channels)
            codes = np.clip(np.rint(maps["x8"].astype(np.float32) / scales), -128, 127)
            maps["x8"] = self.stored(codes, scales)
        for name, values in (out or {}).items():
            values[...] = maps[name]
        return maps if out is None else out

    def stored(
        self,
        codes: NDArray[np.float32],
        scales: NDArray[np.float32],  # noqa: ARG002
    ) -> NDArray[Any]:
        return codes.astype(np.int8)


class Dequantised(Quantised):
    """What the codes of `Quantised` stand for, in float32."""

    def level_dtype(self, name: str) -> np.dtype[Any]:
        return np.dtype(np.float32) if name == "x8" else super().level_dtype(name)

    def scales(self, name: str) -> NDArray[np.float32] | None:  # noqa: ARG002
        return None

    def stored(self, codes: NDArray[np.float32], scales: NDArray[np.float32]) -> NDArray[Any]:
        return codes * scales
