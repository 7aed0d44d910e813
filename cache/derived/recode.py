"""A finished store in another precision, codec, chunking or place; resumed where it was stopped.

The new store is an ordinary one, written chunk by chunk. Each chunk is read back and compared with
what was meant, those that an earlier run has written as well.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from cache import schema
from cache.derived.chunk_content import difference, read_maps, read_rows
from cache.derived.conversion import Conversion, Layout, Progress, RecodeDtype, plan_conversion
from cache.derived.quantize import ErrorSums, LevelError
from cache.errors import CacheCorrupt, CacheError
from cache.part import StorePart
from cache.schema import Codec
from cache.storage import Location, Storage, open_storage
from cache.verify import verify
from cache.writer import CacheWriter, ChunkData


@dataclass(frozen=True)
class RecodeReport:
    """What a recode did.

    Args:
        source: location of the finished store.
        target: location of the new one.
        num_rows: of both.
        num_chunks: of the new store.
        chunks_written: by this call; the others were there, and right.
        map_bytes: of the source's maps, as they are in memory.
        seconds: of the whole call.
        is_exact: whether every value is what it was.
        errors: by level; none if every value is what it was.
    """

    source: str
    target: str
    num_rows: int
    num_chunks: int
    chunks_written: int
    map_bytes: int
    seconds: float
    is_exact: bool
    errors: dict[str, LevelError]


def recode(
    source: Location,
    target: Location,
    *,
    dtype: RecodeDtype | None = None,
    codec: Codec | None = None,
    inner_rows: int | None = None,
    shard_rows: int | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> RecodeReport:
    """Write the store `source` again at `target`; what is not given stays as it is.

    The content identity stays. So does the feature identity if no value changes; else it gets the
    key `recoded`, and a lifter trained on one of the stores refuses the other.

    Args:
        source: folder or URL of a finished store.
        target: of the new one; resumed if it exists.
        dtype: float16, float32, or uint8 for 8-bit codes (int8 where a level has negative values).
        codec: `raw` to train from, `zstd` or `blosc` to keep or to send.
        inner_rows: rows that are compressed together.
        shard_rows: rows per chunk, a power of two.
        workers: threads; None: one per core.
        progress: called after each chunk.

    Raises:
        CacheMissing: there is no such store.
        CacheIncomplete: the source lacks chunks.
        CacheCorrupt: the source is damaged, or the target does not read back as it was written.
        CacheMismatch: there is another store at `target`.
        CacheWriteError: the disk refuses.
        CacheError: the target is the source, or a value does not fit into float16.
    """
    start = time.perf_counter()
    storage = open_storage(target)
    part = StorePart(open_storage(source))
    _refuse_same(part.storage, storage)
    part.require(np.arange(part.spec.num_chunks))
    tell: Progress = progress or (lambda _what, _done, _of: None)
    layout = Layout(dtype, codec, inner_rows, shard_rows)
    with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
        conversion = plan_conversion(part, storage, layout, pool, tell)
        with CacheWriter.open(
            storage,
            spec=conversion.spec,
            plan=part.table.plan(),
            feature_identity=conversion.identity(part.header.feature_identity),
            content_identity=part.header.content_identity,
            scales=conversion.scales,
        ) as writer:
            written, sums = _Recoder(part, storage, conversion).run(writer, pool, tell)
    # Every chunk was compared just now; this looks at what belongs to none.
    report = verify(storage, quick=True)
    if not report.ok:
        reasons = [f"{each.array}, chunk {each.chunk}: {each.reason}" for each in report.bad]
        raise CacheCorrupt(
            f"{storage.location} fails verification after recoding: "
            f"{'; '.join(reasons[:3])}; delete it and recode again"
        )
    errors = {name: each.error() for name, each in sums.items()}
    row_bytes = sum(schema.map_bytes(level, part.spec.dtype) for level in part.spec.levels)
    return RecodeReport(
        source=part.location,
        target=storage.location,
        num_rows=part.spec.num_rows,
        num_chunks=conversion.spec.num_chunks,
        chunks_written=written,
        map_bytes=row_bytes * part.spec.num_rows * part.spec.num_views,
        seconds=time.perf_counter() - start,
        is_exact=not errors,
        errors=errors,
    )


def _refuse_same(source: Storage, target: Storage) -> None:
    """Raise `CacheError` if one lies where the other one is, or inside it."""
    places = [storage.location.rstrip("/") for storage in (source, target)]
    if source.folder is not None and target.folder is not None:
        places = [str(folder.resolve()) for folder in (source.folder, target.folder)]
    first, second = (f"{place}/" for place in places)
    if first.startswith(second) or second.startswith(first):
        raise CacheError(
            f"{target.location}: a store cannot be recoded in place; name another folder, "
            "and delete the old store when the new one is there"
        )


class _Recoder:
    """Writes and compares chunks; used by several threads."""

    def __init__(self, source: StorePart, target: Storage, conversion: Conversion) -> None:
        self._source = source
        self._target = StorePart(target)
        self._conversion = conversion
        self._there = self._target.ledger.committed()
        for level in conversion.spec.levels:
            if level.dtype is None:
                continue
            stored, meant = self._target.scales(level), conversion.scales[level.name]
            if stored is None or not np.array_equal(stored, meant):
                raise CacheCorrupt(
                    f"{target.location}: the scales of {level.name} are not those it was made "
                    "with; delete it and recode again"
                )

    def run(
        self, writer: CacheWriter, pool: ThreadPoolExecutor, tell: Progress
    ) -> tuple[int, dict[str, ErrorSums]]:
        """Chunks written, and what was counted of each level whose values change."""
        rules = self._conversion.rules
        sums = {
            level.name: ErrorSums(level.channels)
            for level in self._conversion.spec.levels
            if not rules[level.name].is_exact
        }
        written, chunks = 0, range(writer.num_chunks)
        # In the order of the chunks, so that the sums are the same however many threads there are.
        for done, (wrote, found) in enumerate(pool.map(partial(self._chunk, writer), chunks), 1):
            written += wrote
            for name, each in found.items():
                sums[name].merge(each)
            tell("recode", done, len(chunks))
        return written, sums

    def _chunk(self, writer: CacheWriter, chunk: int) -> tuple[bool, dict[str, ErrorSums]]:
        """Whether the chunk had to be written, and its errors."""
        rows, errors = writer.chunk_rows(chunk), {}
        features = {}
        for level in self._conversion.spec.levels:
            rule = self._conversion.rules[level.name]
            values = rule.values(read_maps(self._source, rule.source, rows))
            features[level.name] = self._conversion.stored(level, values)
            if not rule.is_exact:
                errors[level.name] = ErrorSums(level.channels)
                restored = self._conversion.restored(level, features[level.name])
                errors[level.name].add(values, restored)
        data = ChunkData(
            features=features,
            keypoints={
                source: read_rows(self._source, schema.keypoints_path(source), rows)
                for source in self._source.spec.keypoint_sources
            },
            crop_affine=read_rows(self._source, schema.AFFINE, rows),
            status=read_rows(self._source, schema.STATUS, rows),
        )
        target = self._target
        if chunk in self._there:
            if difference(target, rows, data) is None:
                return False, errors
            writer.discard_chunk(chunk)
            target = StorePart(target.storage)
        writer.write_chunk(chunk, data)
        reason = difference(target, rows, data)
        if reason is not None:
            raise CacheCorrupt(
                f"{writer.location}: chunk {chunk} (rows {rows.start}-{rows.stop - 1}) does not "
                f"read back as it was written: {reason}. Check the disk, then recode again"
            )
        return True, errors
