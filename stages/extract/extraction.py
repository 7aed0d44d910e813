"""What an extraction is told, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field, PositiveInt


class ExtractConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How a store is filled."""

    batch_size: PositiveInt = 16
    """Crops per forward pass, always exactly that many: another batch shape changes float words."""
    loader_workers: int = Field(default=1, ge=0)
    """Threads (processes for computed pictures) that load and crop ahead of the network."""
    threads: PositiveInt | None = None
    """Torch threads of the network; None leaves them to the machine."""
    dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stored feature maps."""
    strict: bool = False
    """Stop at the first frame that cannot be used, instead of recording why and going on."""
    shard_rows: PositiveInt | None = None
    """Rows per chunk, a power of two; None takes the largest up to 64 with files of at most 32
    MiB."""


@dataclass(frozen=True)
class ExtractProgress:
    """How far an extraction is."""

    rows_done: int
    """Rows of this call's chunks that have passed the detector."""
    num_rows: int
    """Rows that this call has to do."""
    seconds: float
    """Since the call began."""

    @property
    def fraction(self) -> float:
        """Share of the rows that are done."""
        return self.rows_done / max(self.num_rows, 1)

    @property
    def rows_per_s(self) -> float:
        """Rows per second so far."""
        return self.rows_done / max(self.seconds, 1e-9)


@dataclass(frozen=True)
class ExtractSummary:
    """What an extraction did."""

    path: Path
    rows: int
    """Rows of the store."""
    chunks_done: int
    """Chunks that this call wrote."""
    chunks_skipped: int
    """Chunks that were committed before."""
    invalid_by_reason: dict[str, int]
    """Unusable rows of the whole store, by lower-case `FrameStatus` name."""
    seconds: float


@dataclass(frozen=True)
class ChunkPlan:
    """What an extraction would do."""

    num_rows: int
    num_chunks: int
    missing: tuple[int, ...]
    row_bytes: int
    """Bytes of one row's feature maps, all views."""
