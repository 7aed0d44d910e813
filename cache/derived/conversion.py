"""How the maps of one store become those of another: layout, per level a rule, and the identity."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from cache.derived.chunk_content import read_maps
from cache.derived.halves import widened
from cache.derived.quantize import ChannelRange, Float32, channel_range, dequantize, quantize
from cache.errors import CacheError
from cache.fingerprint import hash_arrays
from cache.header import read_header
from cache.part import StorePart
from cache.points import FeatureDtype
from cache.schema import CacheSpec, Codec, LevelSpec, choose_shard_rows
from cache.storage import Storage

RecodeDtype = Literal["float16", "float32", "uint8"]
"""`uint8`: 8-bit codes, int8 where a level has negative values."""

Progress = Callable[[str, int, int], None]
"""Called with what is being done, and the chunks done and to do."""

_FLOAT16_OVERFLOW = 65520.0  # what rounds to infinity


@dataclass(frozen=True)
class Layout:
    """What the new store is asked to be; None keeps what the source has.

    Args:
        dtype: of the maps.
        codec: of the maps.
        inner_rows: rows that are compressed together.
        shard_rows: rows per chunk of work.
    """

    dtype: RecodeDtype | None = None
    codec: Codec | None = None
    inner_rows: int | None = None
    shard_rows: int | None = None


@dataclass(frozen=True, eq=False)
class LevelRule:
    """How the maps of one level are converted.

    Args:
        source: the level as it is.
        source_dtype: of its stored numbers.
        source_scales: `[C]` of its codes, None for numbers that stand as they are.
        dtype: wanted.
    """

    source: LevelSpec
    source_dtype: np.dtype[Any]
    source_scales: Float32 | None
    dtype: RecodeDtype | None

    @property
    def keeps_numbers(self) -> bool:
        """Whether the stored numbers stay as they are."""
        is_coded = self.source_scales is not None
        return self.dtype is None or (
            is_coded if self.dtype == "uint8" else self.source_dtype == self.dtype
        )

    @property
    def is_exact(self) -> bool:
        """Whether every value stays as it is."""
        return self.keeps_numbers or self.dtype == "float32"

    def values(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Values of maps `[R, V, H, W, C]` as the source stores them."""
        if self.keeps_numbers or self.source_scales is None:
            return stored
        return dequantize(stored, self.source_scales)

    def range_of(self, stored: NDArray[Any], first_row: int) -> ChannelRange:
        """The range of maps; raises `CacheError` for a value that float16 cannot hold."""
        values = self.values(stored)
        found = channel_range(values)
        if self.dtype == "float16" and found.max_abs.max() >= _FLOAT16_OVERFLOW:
            largest = np.abs(values).reshape(len(values), -1).max(axis=1)
            row = int((largest >= _FLOAT16_OVERFLOW).argmax())
            raise CacheError(
                f"row {first_row + row} of level {self.source.name} has the value "
                f"{largest[row]:.6g}, float16 ends at 65504; recode to float32 or uint8 instead"
            )
        return found


@dataclass(frozen=True, eq=False)
class Conversion:
    """A rule per level, and the codes that come out.

    Args:
        rules: by level.
        spec: layout of the new store.
        scales: `[C]` of the new store's 8-bit levels.
    """

    rules: Mapping[str, LevelRule]
    spec: CacheSpec
    scales: Mapping[str, Float32]

    def stored(self, level: LevelSpec, values: NDArray[Any]) -> NDArray[Any]:
        """Maps as the new store holds them."""
        rule = self.rules[level.name]
        if rule.keeps_numbers:
            return values
        if level.dtype is not None:
            return quantize(values, self.scales[level.name], level.dtype)
        dtype = self.spec.level_dtype(level)
        return widened(values) if dtype == np.float32 else values.astype(dtype)

    def restored(self, level: LevelSpec, stored: NDArray[Any]) -> NDArray[Any]:
        """Values that a reader of the new store works with."""
        if level.dtype is None:
            return stored
        return dequantize(stored, self.scales[level.name])

    def identity(self, feature_identity: Mapping[str, Any]) -> dict[str, Any]:
        """Feature identity of the new store: another one as soon as one value is another one."""
        lossy = {name: rule for name, rule in self.rules.items() if not rule.is_exact}
        if not lossy:
            return dict(feature_identity)
        levels = {level.name: level for level in self.spec.levels}
        step = {
            "source_dtype": {name: rule.source_dtype.name for name, rule in lossy.items()},
            "dtype": {name: self.spec.level_dtype(levels[name]).name for name in lossy},
            "scales": hash_arrays(
                {name: self.scales[name] for name in lossy if name in self.scales}
            ),
        }
        return {**feature_identity, "recoded": [*feature_identity.get("recoded", []), step]}


def plan_conversion(
    part: StorePart, target: Storage, layout: Layout, pool: ThreadPoolExecutor, tell: Progress
) -> Conversion:
    """Rules, layout and codes: those of the target if it exists, so that a resumed one fits."""
    rules = {
        level.name: LevelRule(level, part.spec.level_dtype(level), part.scales(level), layout.dtype)
        for level in part.spec.levels
    }
    codes = {
        name: (rule.source.dtype, rule.source_scales)
        for name, rule in rules.items()
        if rule.keeps_numbers
    }
    changed = {name: rule for name, rule in rules.items() if not rule.is_exact}
    if target.exists():
        header = read_header(target)
        for level in header.spec.levels:
            if level.name in changed and level.dtype is not None and layout.dtype == "uint8":
                scale = np.array(header.scales[level.name], dtype=np.float32)
                codes[level.name] = level.dtype, scale
    elif changed:
        ranges = _survey(part, changed, pool, tell)
        if layout.dtype == "uint8":
            codes |= {name: (found.code_dtype, found.scales()) for name, found in ranges.items()}
    levels = [replace(level, dtype=codes.get(level.name, (None,))[0]) for level in part.spec.levels]
    scales = {name: scale for name, (_, scale) in codes.items() if scale is not None}
    return Conversion(rules, _target_spec(part.spec, levels, layout), scales)


def _survey(
    part: StorePart, rules: Mapping[str, LevelRule], pool: ThreadPoolExecutor, tell: Progress
) -> dict[str, ChannelRange]:
    """The range of every level in the whole store."""

    def look(chunk: int) -> dict[str, ChannelRange]:
        rows = part.spec.chunk_rows(chunk)
        return {
            name: rule.range_of(read_maps(part, rule.source, rows), rows.start)
            for name, rule in rules.items()
        }

    total: dict[str, ChannelRange] = {}
    chunks = range(part.spec.num_chunks)
    for done, found in enumerate(pool.map(look, chunks), start=1):
        total = {name: each.joined(total.get(name, each)) for name, each in found.items()}
        tell("survey", done, len(chunks))
    return total


def _target_spec(source: CacheSpec, levels: Sequence[LevelSpec], layout: Layout) -> CacheSpec:
    """Layout of the new store; raises `CacheError` for one that cannot be."""
    asked = layout.dtype
    dtype: FeatureDtype = source.dtype if asked is None or asked == "uint8" else asked
    codec = layout.codec or source.codec
    shard_rows = layout.shard_rows or min(source.shard_rows, choose_shard_rows(levels, dtype))
    kept_rows = 1 if codec == "raw" else min(source.inner_rows, shard_rows)
    try:
        return replace(
            source,
            levels=tuple(levels),
            dtype=dtype,
            codec=codec,
            shard_rows=shard_rows,
            inner_rows=layout.inner_rows or kept_rows,
        )
    except ValidationError as error:
        reasons = "; ".join(problem["msg"] for problem in error.errors())
        raise CacheError(f"no store can have this layout: {reasons}") from error
