"""A new store of some rows of another one: same detector, same values, fewer rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheError
from cache.header import read_header
from cache.plan import INDEX_COLUMNS, IndexColumn
from cache.reader import CacheReader
from cache.schema import CacheSpec
from cache.storage import Location, open_storage
from cache.store import PlanTable
from cache.writer import CacheWriter, ChunkData


def subset(
    location: Location,
    out: Location,
    where: Mapping[str, Collection[str]],
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Write the rows whose index columns have one of the words each; resumes if it was stopped.

    Rows keep their order, so that those of a clip stay together. The feature identity stays; the
    content identity says of what it is a subset.

    Args:
        location: of the store.
        out: of the new store.
        where: index column -> words; all columns must match.
        progress: called with (chunks done, chunks to do) after each chunk.

    Returns:
        Rows of the new store and of the old one.

    Raises:
        CacheError: a column or a word is unknown, or no row is left.
        CacheIncomplete: a chosen row is not committed.
        CacheMismatch: there is another store at `out`.
        CacheWriteError: the disk refuses.
    """
    storage, target = open_storage(location), open_storage(out)
    if storage.location == target.location:
        raise CacheError(
            f"{target.location}: a subset cannot replace its own store; name another folder"
        )
    reader = CacheReader(location, allow_incomplete=True)
    header = read_header(storage)
    plan = PlanTable(storage, header).plan()
    rows = chosen_rows(plan.index, where)
    spec = CacheSpec.from_json({**header.spec.to_json(), "num_rows": len(rows)})
    content = {
        "subset_of": header.content_identity,
        "where": {column: sorted(words) for column, words in where.items()},
    }
    with CacheWriter.open(
        out,
        spec=spec,
        plan=plan.take(rows),
        feature_identity=header.feature_identity,
        content_identity=content,
        scales={name: np.array(scale, np.float32) for name, scale in header.scales.items()},
    ) as writer:
        todo = writer.missing_chunks()
        for done, chunk in enumerate(todo, start=1):
            members = writer.chunk_rows(chunk)
            writer.write_chunk(chunk, _content(reader, rows[members.start : members.stop]))
            if progress is not None:
                progress(done, len(todo))
    return len(rows), len(reader)


def chosen_rows(
    index: Mapping[str, IndexColumn], where: Mapping[str, Collection[str]]
) -> NDArray[np.intp]:
    """Rows, ascending, that have one of the words in every column; raises `CacheError`."""
    if not where:
        raise CacheError("a subset needs a condition, e.g. split=train")
    chosen = np.ones(len(index["item"].codes), dtype=np.bool_)
    for name, words in where.items():
        if name not in INDEX_COLUMNS:
            raise CacheError(
                f"no index column {name!r}, there are {', '.join(INDEX_COLUMNS)}; name one of these"
            )
        chosen &= np.isin(index[name].codes, _codes(name, index[name], list(words)))
    rows = np.flatnonzero(chosen)
    if not rows.size:
        conditions = " and ".join(f"{name} in {sorted(words)}" for name, words in where.items())
        raise CacheError(f"no row has {conditions}; ask for less at once")
    return rows


def _codes(name: str, column: IndexColumn, words: Sequence[str]) -> list[int]:
    known = column.vocabulary
    if known is None:
        try:
            return [int(word) for word in words]
        except ValueError:
            raise CacheError(f"{name} holds whole numbers, got {', '.join(words)}") from None
    unknown = [word for word in words if word not in known]
    if unknown:
        listed = ", ".join(known[:12]) + (", ..." if len(known) > 12 else "")
        raise CacheError(
            f"no row has {name} {', '.join(unknown)}; there are {listed}; name some of these"
        )
    return [known.index(word) for word in words]


def _content(reader: CacheReader, rows: NDArray[np.intp]) -> ChunkData:
    """What a chunk of these rows of the old store holds."""
    views = range(len(reader.views))
    maps = [reader.read(rows, view=view) for view in views]
    return ChunkData(
        features={
            name: np.stack([of_view[name] for of_view in maps], axis=1) for name in reader.levels
        },
        keypoints={
            source: np.stack([reader.keypoints(source, view, rows=rows) for view in views], axis=1)
            for source in reader.spec.keypoint_sources
        },
        crop_affine=np.stack([reader.affine(view, rows=rows) for view in views], axis=1),
        status=reader.status(rows=rows),
    )
