"""One store from several that hold some of its chunks each, as machines that share no disk do."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from cache import schema
from cache.errors import CacheCorrupt, CacheError, CacheMismatch, CacheWriteError
from cache.fingerprint import diff_identities
from cache.ledger import Ledger
from cache.part import StorePart
from cache.storage import Location, Storage, open_storage
from cache.storage.files import sync_folder
from cache.verify import Problem, chunk_problems
from cache.writer import CacheWriter

_NO_LINKS = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES)


@dataclass(frozen=True)
class Conflict:
    """A chunk that two stores hold with different bytes.

    Args:
        chunk: its number.
        arrays: Zarr paths of the arrays that differ.
        locations: of the two stores.
    """

    chunk: int
    arrays: tuple[str, ...]
    locations: tuple[str, str]


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Args:
        num_chunks: planned chunks.
        copied: chunks that this call brought to the new store.
        missing: chunks that the new store lacks.
        conflicts: chunks left out, because nobody can say which bytes are right.
        damaged: by location, what was found damaged; such a chunk is taken from another store.
    """

    num_chunks: int
    copied: int
    missing: tuple[int, ...]
    conflicts: tuple[Conflict, ...]
    damaged: tuple[tuple[str, Problem], ...]

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, damaged or in conflict."""
        return not (self.missing or self.conflicts or self.damaged)


def merge(
    locations: Sequence[Location],
    out: Location,
    progress: Callable[[int, int], None] | None = None,
) -> MergeReport:
    """Bring the chunks of all stores together in the store `out`; resumes where it was stopped.

    Files on one disk are hard-linked. Every chunk is read back and checked before it is committed.

    Args:
        locations: stores of equal identities, plan and layout.
        out: of the new store; it may exist already, with some of the chunks.
        progress: called with (chunks done, chunks to do) after each chunk.

    Raises:
        CacheMissing: a store is not there.
        CacheMismatch: the stores do not belong together; every differing key is named.
        CacheWriteError: the disk refuses.
    """
    parts = [StorePart(open_storage(location)) for location in locations]
    target = open_storage(out)
    if not parts or target.location in {part.location for part in parts}:
        raise CacheError(
            f"merging needs stores other than {target.location}, which is written; "
            "name another folder for the new store"
        )
    _refuse_unlike(parts)
    with _writer(parts[0], target) as writer:
        missing = set(writer.missing_chunks())
    ledger = Ledger(target, parts[0].spec.num_chunks)
    owners = {part.location: part.ledger.committed() for part in parts}
    todo = sorted(missing.intersection(*[frozenset().union(*owners.values())]))
    conflicts: list[Conflict] = []
    damaged: list[tuple[str, Problem]] = []
    copied = 0
    for done, chunk in enumerate(todo, start=1):
        good = []
        for part in (part for part in parts if chunk in owners[part.location]):
            found = [(part.location, problem) for problem in chunk_problems(part, chunk)]
            damaged += found
            good += [] if found else [part]
        clash = _conflict(good, chunk)
        if clash is not None:
            conflicts.append(clash)
        elif good:
            _copy(good[0], target, ledger, chunk)
            copied += 1
        if progress is not None:
            progress(done, len(todo))
    return MergeReport(
        num_chunks=parts[0].spec.num_chunks,
        copied=copied,
        missing=tuple(ledger.missing()),
        conflicts=tuple(conflicts),
        damaged=tuple(damaged),
    )


def _refuse_unlike(parts: Sequence[StorePart]) -> None:
    first = parts[0]
    for part in parts[1:]:
        differing = diff_identities(first.header.to_json(), part.header.to_json())
        if differing:
            raise CacheMismatch(
                f"{part.location} and {first.location} are not parts of one store:\n  "
                + "\n  ".join(differing)
                + "\nA reader can join stores of other rows: CacheReader([...])"
            )


def _writer(part: StorePart, target: Storage) -> CacheWriter:
    """The new store, created with the plan of `part`, or found to be of the same header."""
    header = part.header
    return CacheWriter.open(
        target,
        spec=header.spec,
        plan=part.table.plan(),
        feature_identity=header.feature_identity,
        content_identity=header.content_identity,
        scales={name: np.array(scale, np.float32) for name, scale in header.scales.items()},
    )


def _keys(part: StorePart, chunk: int) -> dict[str, str]:
    """Object of each array of a chunk, by Zarr path."""
    arrays = schema.chunk_arrays(part.spec, part.header.label_skeleton)
    return {
        name: f"{name}/{schema.chunk_key(chunk, len(shape) + 1)}"
        for name, (shape, _) in arrays.items()
    }


def _conflict(parts: Sequence[StorePart], chunk: int) -> Conflict | None:
    for other in parts[1:]:
        first = parts[0]
        differing = tuple(
            name
            for name, key in _keys(first, chunk).items()
            if first.storage.read(key) != other.storage.read(key)
        )
        if differing:
            return Conflict(chunk, differing, (first.location, other.location))
    return None


def _copy(part: StorePart, target: Storage, ledger: Ledger, chunk: int) -> None:
    """Bring a chunk over, durably; check what arrived; commit."""
    keys = _keys(part, chunk)
    try:
        if not _linked(part.storage, target, keys):
            target.write({key: [part.storage.read(key)] for key in keys.values()})
        problems = list(chunk_problems(StorePart(target), chunk))
        if problems:
            raise CacheCorrupt(
                f"{target.location}: chunk {chunk} arrived damaged from {part.location} "
                f"({problems[0].array}: {problems[0].reason}). Check the disk, then merge again"
            )
        ledger.commit(chunk)
    except OSError as error:
        if isinstance(error, CacheError):
            raise
        raise CacheWriteError(
            f"cannot write chunk {chunk} of {target.location}: {error.strerror or error}; "
            "committed chunks are safe. Free space, then merge again to resume"
        ) from error


def _linked(source: Storage, target: Storage, keys: Mapping[str, str]) -> bool:
    """Whether all files of a chunk have their second name in the new store, durably."""
    if source.folder is None or target.folder is None:
        return False
    for key in keys.values():
        place = target.folder / key
        place.unlink(missing_ok=True)  # of a merge that was killed before the commit
        try:
            os.link(source.folder / key, place)
        except OSError as error:
            if error.errno in _NO_LINKS:
                return False
            raise
    for folder in {(target.folder / key).parent for key in keys.values()}:
        sync_folder(folder)
    return True
