"""Full scan of a store: every checksum, count, finite number and status code."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from cache import schema
from cache.errors import CacheCorrupt, PlanError
from cache.part import StorePart
from cache.schema import FrameStatus
from cache.shards import all_finite, map_is_intact
from cache.storage import Location, Storage, open_storage


@dataclass(frozen=True)
class Problem:
    """Something wrong in a store.

    Args:
        chunk: number of the chunk, None for the plan.
        array: Zarr path.
        rows: first and last row concerned.
        reason: what is wrong.
    """

    chunk: int | None
    array: str
    rows: tuple[int, int]
    reason: str


@dataclass(frozen=True)
class VerifyReport:
    """Result of a full scan.

    Args:
        num_rows: planned rows.
        num_chunks: planned chunks.
        missing_chunks: chunks that nobody has committed.
        bad: everything damaged.
        invalid_by_reason: rows per status other than OK, by name; a bad frame is not a damage.
    """

    num_rows: int
    num_chunks: int
    missing_chunks: tuple[int, ...]
    bad: tuple[Problem, ...]
    invalid_by_reason: dict[str, int]

    @property
    def ok(self) -> bool:
        """Whether every chunk is there and nothing is damaged."""
        return not self.bad and not self.missing_chunks


def verify(
    location: Location | Storage, progress: Callable[[int, int], None] | None = None
) -> VerifyReport:
    """Read every byte of the store at `location`.

    Args:
        location: folder or URL of the store.
        progress: called with (chunks done, chunks to do) after each chunk.

    Raises:
        CacheMissing: there is no store.
        SchemaMismatch: it has another format version.
    """
    part = StorePart(open_storage(location))
    committed = sorted(part.ledger.committed())
    bad = list(_plan_problems(part))
    counts = dict.fromkeys((status.name for status in FrameStatus if status != FrameStatus.OK), 0)
    for done, chunk in enumerate(committed, start=1):
        bad.extend(chunk_problems(part, chunk, counts))
        if progress is not None:
            progress(done, len(committed))
    return VerifyReport(
        num_rows=part.spec.num_rows,
        num_chunks=part.spec.num_chunks,
        missing_chunks=tuple(part.ledger.missing()),
        bad=tuple(bad),
        invalid_by_reason={name: count for name, count in counts.items() if count},
    )


def _plan_problems(part: StorePart) -> Iterator[Problem]:
    everything = (0, part.spec.num_rows - 1)
    try:
        plan = part.table.plan()
    except (CacheCorrupt, PlanError) as error:
        yield Problem(None, schema.LABELS, everything, str(error))
        return
    if plan.fingerprint() != part.header.plan_hash:
        yield Problem(None, schema.LABELS, everything, "the plan is not the one that was written")


def chunk_problems(
    part: StorePart, chunk: int, counts: dict[str, int] | None = None
) -> Iterator[Problem]:
    """Everything damaged in one chunk, committed or not; unusable rows are added to `counts`."""
    counts = Counter() if counts is None else counts
    rows = part.spec.chunk_rows(chunk)
    span = (rows.start, rows.stop - 1)
    for name in schema.chunk_arrays(part.spec, part.header.label_skeleton):
        if name.startswith(f"{schema.FEATURES}/"):
            continue
        try:
            values = part.read_chunk(name, chunk)[: len(rows)]
        except CacheCorrupt as error:
            yield Problem(chunk, name, span, str(error.__cause__))
            continue
        if not np.isfinite(values).all():
            yield Problem(chunk, name, span, "numbers are not finite")
        if name == schema.STATUS:
            for code, count in zip(*np.unique(values, return_counts=True), strict=True):
                if code not in list(FrameStatus):
                    yield Problem(chunk, name, span, f"status {code} is not defined")
                elif code != FrameStatus.OK:
                    counts[FrameStatus(code).name] += int(count)
    yield from _feature_problems(part, chunk)


def _feature_problems(part: StorePart, chunk: int) -> Iterator[Problem]:
    spec, rows = part.spec, part.spec.chunk_rows(chunk)
    itemsize = np.dtype(spec.dtype).itemsize
    for level in spec.levels:
        name = schema.feature_path(level.name)
        try:
            data, offsets = part.read_shard(level, chunk)
        except CacheCorrupt as error:
            yield Problem(chunk, name, (rows.start, rows.stop - 1), str(error.__cause__))
            continue
        size = schema.map_bytes(level, spec.dtype)
        for slot, offset in enumerate(offsets):
            row, view = divmod(slot, spec.num_views)
            row += rows.start
            if not map_is_intact(data, offset, size):
                reason = f"the {spec.views[view]} view fails its checksum"
                yield Problem(chunk, name, (row, row), reason)
            elif not all_finite(data[offset : offset + size], itemsize):
                reason = f"the {spec.views[view]} view has numbers that are not finite"
                yield Problem(chunk, name, (row, row), reason)
