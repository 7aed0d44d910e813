"""Scan of a store: every checksum, count, finite number and status code."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from cache import schema
from cache.errors import CacheCorrupt, CacheError
from cache.header import StoreHeader
from cache.maps.shard_blocks import shard_key
from cache.maps.shard_scan import Fault, index_bytes, scan_index, scan_shard
from cache.maps.shards import DamagedBytes, parse_chunk
from cache.part import StorePart
from cache.schema import FrameStatus, LevelSpec
from cache.seal import check_metadata, sealed_names
from cache.storage import Location, Storage, open_storage
from cache.threads import copying_threads

_FETCHING_THREADS = 8
"""Shards that are fetched at once from where they are no files; each is held whole."""


@dataclass(frozen=True)
class Problem:
    """Something wrong in a store.

    Args:
        chunk: number of the chunk, None for the plan and the metadata.
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
    """Result of a scan.

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

    @property
    def damaged_chunks(self) -> tuple[int, ...]:
        """Chunks to discard and write again, ascending."""
        return tuple(sorted({p.chunk for p in self.bad if p.chunk is not None}))


def verify(
    location: Location | Storage,
    progress: Callable[[int, int], None] | None = None,
    *,
    quick: bool = False,
) -> VerifyReport:
    """Read and check every byte of the store at `location`.

    Args:
        location: folder or URL of the store.
        progress: called with (chunks done, chunks to do) after each chunk.
        quick: of the feature maps, read only the index at the end of each shard. Finds files that
            are missing, cut or of another size, damaged indexes, and all damage elsewhere; not a
            changed byte inside a map, nor a map that is not finite.

    Raises:
        CacheMissing: there is no store.
        CacheCorrupt: its root is damaged, so that nothing is known of the rest.
        SchemaMismatch: it has another format version.
    """
    storage = open_storage(location)
    part = StorePart(storage)
    committed = sorted(part.ledger.committed())
    bad = [*_metadata_problems(part), *_plan_problems(part)]
    bad += [
        Problem(None, schema.COMMIT, _all_rows(part), f"{name} is no commit of a planned chunk")
        for name in part.ledger.strange()
    ]
    counts: Counter[str] = Counter()
    threads = _FETCHING_THREADS if storage.folder is None else copying_threads()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="posecache-verify")
    try:
        results = pool.map(partial(_scan_chunk, part, quick=quick), committed)
        for done, (problems, invalid) in enumerate(results, start=1):
            bad += problems
            counts += invalid
            if progress is not None:
                progress(done, len(committed))
    finally:
        pool.shutdown(cancel_futures=True)
    return VerifyReport(
        num_rows=part.spec.num_rows,
        num_chunks=part.spec.num_chunks,
        missing_chunks=tuple(sorted(set(range(part.spec.num_chunks)).difference(committed))),
        bad=tuple(bad),
        invalid_by_reason={s.name: counts[s.name] for s in FrameStatus if counts[s.name]},
    )


def chunk_problems(
    part: StorePart, chunk: int, counts: Counter[str] | None = None, *, quick: bool = False
) -> Iterator[Problem]:
    """Everything damaged in one chunk, committed or not; unusable rows are added to `counts`."""
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
                elif code != FrameStatus.OK and counts is not None:
                    counts[FrameStatus(code).name] += int(count)
    for level in part.spec.levels:
        for fault in _level_faults(part, level, chunk, quick=quick):
            first, last = fault.rows
            place = (rows.start + first, rows.start + last)
            yield Problem(chunk, schema.feature_path(level.name), place, fault.reason)


def _all_rows(part: StorePart) -> tuple[int, int]:
    return (0, part.spec.num_rows - 1)


def _metadata_problems(part: StorePart) -> Iterator[Problem]:
    sums = part.header.metadata_sums
    for name in sealed_names(sums):
        try:
            check_metadata(sums, name, part.storage)
        except CacheCorrupt as error:
            yield Problem(None, name, _all_rows(part), str(error))
    if sums is None:
        known = {*StoreHeader.__dataclass_fields__, "format", "format_version"}
        strange = set(json.loads(part.storage.read(schema.METADATA))["attributes"]) - known
        if strange:
            # One of them may be the name of the seal with a flipped bit.
            reason = f"attributes that no release writes: {', '.join(sorted(strange))}"
            yield Problem(None, schema.METADATA, _all_rows(part), reason)
    for level in part.spec.levels:
        try:
            scale = part.scales(level)
        except CacheCorrupt as error:
            yield Problem(None, schema.feature_path(level.name), _all_rows(part), str(error))
            continue
        if scale is not None and not (np.isfinite(scale).all() and (scale > 0).all()):
            reason = "a scale is not a positive number"
            yield Problem(None, schema.feature_path(level.name), _all_rows(part), reason)


def _plan_problems(part: StorePart) -> Iterator[Problem]:
    try:
        plan = part.table.plan()
    except CacheError as error:
        yield Problem(None, schema.LABELS, _all_rows(part), str(error))
        return
    if plan.fingerprint() != part.header.plan_hash:
        reason = "the plan is not the one that was written"
        yield Problem(None, schema.LABELS, _all_rows(part), reason)


def _scan_chunk(part: StorePart, chunk: int, *, quick: bool) -> tuple[list[Problem], Counter[str]]:
    invalid: Counter[str] = Counter()
    problems = [*_commit_problems(part, chunk)]
    problems += chunk_problems(part, chunk, invalid, quick=quick)
    return problems, invalid


def _commit_problems(part: StorePart, chunk: int) -> Iterator[Problem]:
    rows = part.spec.chunk_rows(chunk)
    try:
        content = part.storage.read(f"{schema.COMMIT}/{schema.chunk_key(chunk, 1)}")
        parse_chunk(content, (1,), np.dtype(np.uint8))
    except (OSError, DamagedBytes) as error:
        yield Problem(chunk, schema.COMMIT, (rows.start, rows.stop - 1), str(error))


def _level_faults(part: StorePart, level: LevelSpec, chunk: int, *, quick: bool) -> list[Fault]:
    storage, num_rows = part.storage, len(part.spec.chunk_rows(chunk))
    try:
        if not quick:
            return scan_shard(storage.read(shard_key(level, chunk)), part.spec, level, num_rows)
        tail, size = storage.tail(shard_key(level, chunk), index_bytes(part.spec))
        scan_index(tail, part.spec, level, file_bytes=size, num_rows=num_rows)
    except (OSError, DamagedBytes) as error:
        return [Fault((0, num_rows - 1), str(error))]
    return []
