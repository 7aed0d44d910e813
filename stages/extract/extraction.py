"""What an extraction is told, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field, PositiveInt


def _power_of_two(value: int) -> int:
    if value & (value - 1):
        below = 1 << (value.bit_length() - 1)
        raise ValueError(f"{value} is no power of two; take {below} or {2 * below}")
    return value


PowerOfTwo = Annotated[PositiveInt, AfterValidator(_power_of_two)]


class ExtractConfig(BaseModel, extra="forbid", frozen=True, use_attribute_docstrings=True):
    """How a store is filled."""

    batch_size: PositiveInt = 16
    """Crops per forward pass, always exactly that many: another batch shape changes float words."""
    threads: PositiveInt = 1
    """Torch threads of the network in each process; another number changes float words, so cores
    are used by `workers`."""
    dtype: Literal["float16", "float32"] = "float16"
    """Precision of the stored feature maps."""
    shard_rows: PowerOfTwo | None = None
    """Rows per chunk, a power of two; None takes the largest up to 64 with files of at most 32
    MiB."""
    workers: PositiveInt | None = None
    """Processes that extract chunks on this machine; 1 is this process alone, None is one per core,
    or one per GPU where the detector runs on `cuda`."""
    scheduler: str | None = None
    """Address of a running Dask scheduler, e.g. `tcp://host:8786`, whose workers extract the
    chunks; `workers` is not used then."""
    mixed_machines: bool = False
    """Let workers with another processor or GPU take part. Their float words differ in the last
    bits, so that a store is then no longer reproducible bit by bit."""
    loader_workers: int = Field(default=1, ge=0)
    """Threads per process that load and crop ahead of the network. Pictures that are computed
    instead of read get one process each in place of threads, if there is one worker only."""
    strict: bool = False
    """Stop at the first frame that cannot be used, instead of recording why and going on."""


@dataclass(frozen=True)
class ExtractProgress:
    """How far an extraction is."""

    rows_done: int
    """Rows of this call's chunks that have passed the detector."""
    num_rows: int
    """Rows that this call has to do."""
    seconds: float
    """Since the call began."""
    chunks_done: int = 0
    """Chunks that this call has written."""
    num_chunks: int = 0
    """Chunks that this call has to do."""
    workers: int = 1
    """Processes at work now."""

    @property
    def fraction(self) -> float:
        """Share of the rows that are done."""
        return self.rows_done / max(self.num_rows, 1)

    @property
    def rows_per_s(self) -> float:
        """Rows per second so far."""
        return self.rows_done / max(self.seconds, 1e-9)

    @property
    def seconds_left(self) -> float | None:
        """Estimated seconds to the end; None before the first row."""
        rest = self.num_rows - self.rows_done
        return rest / self.rows_per_s if self.rows_done else None


@dataclass(frozen=True)
class ExtractSummary:
    """What an extraction did."""

    location: str
    rows: int
    """Rows of the store."""
    chunks_done: int
    """Chunks that this call wrote."""
    chunks_skipped: int
    """Chunks that were committed before."""
    chunks_missing: int
    """Chunks that the store still lacks: another part's, or left when this call was stopped."""
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
    num_done: int = 0
    """Chunks that are committed, of whatever part."""


@dataclass(frozen=True)
class ChunkPart:
    """Part `number` (from 1) of `count` contiguous, nearly equal ranges of chunks."""

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise ValueError(
                f"part {self.number}/{self.count}: parts are 1/{self.count} to "
                f"{self.count}/{self.count}"
            )

    def chunks(self, num_chunks: int) -> range:
        """Chunks of this part; the parts of all numbers are disjoint and cover everything."""
        first = (self.number - 1) * num_chunks // self.count
        return range(first, self.number * num_chunks // self.count)

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"
