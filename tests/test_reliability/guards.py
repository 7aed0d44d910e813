"""Guards of the store taken away one by one, so that tests can show that they notice."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import header, part, schema
from cache import store as store_module
from cache.ledger import Ledger
from cache.maps import local, shard_blocks, shard_scan, shards
from cache.part import StorePart
from cache.storage import LocalStorage, files, folder
from cache.store import PlanTable
from cache.writer import CacheWriter

Patch = pytest.MonkeyPatch
_VERIFY = import_module("cache.verify")  # the package has a function of this name


def without_commit_last(patch: Patch) -> None:
    """The commit is written before the data that it vouches for."""
    write = LocalStorage.write
    data: dict[str, Iterable[files.Part]] = {}

    def swapped(self: LocalStorage, given: Mapping[str, Iterable[files.Part]]) -> None:
        if not any(key.startswith("commit/") for key in given):
            data.update(given)
            return
        write(self, given)
        write(self, data)
        data.clear()

    patch.setattr(LocalStorage, "write", swapped)


def without_commit_revoked_first(patch: Patch) -> None:
    """A chunk's data are removed while it still counts as committed."""

    def discard(self: CacheWriter, chunk: int) -> None:
        for name in self._arrays:
            self._storage.delete(self._chunk_key(name, chunk))
        self._ledger.revoke(chunk)

    patch.setattr(CacheWriter, "discard_chunk", discard)


def without_whole_creation(patch: Patch) -> None:
    """A new store is made in its final place, file by file."""

    @contextmanager
    def creating(self: LocalStorage) -> Iterator[str]:
        self.folder.mkdir(parents=True)
        yield str(self.folder)

    patch.setattr(LocalStorage, "creating", creating)


def without_sweeping(patch: Patch) -> None:
    """What killed writers leave behind stays."""
    patch.setattr(LocalStorage, "sweep", lambda *_: None)


def without_locks(patch: Patch) -> None:
    """Temporary files of living writers look like those of dead ones."""
    patch.setattr(files, "_lock", lambda descriptor, **_: os.fstat(descriptor).st_nlink > 0)


def without_rename(patch: Patch) -> None:
    """Files are written under their final names."""

    def write_files(given: Mapping[Path, Iterable[files.Part]]) -> None:
        for path, parts in given.items():
            with path.open("wb") as stream:
                for part in parts:
                    stream.write(part if isinstance(part, bytes) else part.data)
                stream.flush()
                os.fsync(stream.fileno())
        for parent in {path.parent for path in given}:
            files.sync_folder(parent)

    patch.setattr(folder, "write_files", write_files)


def _without_sync(patch: Patch, kind: Callable[[int], bool]) -> None:
    sync = os.fsync

    def fsync(descriptor: Any) -> None:
        if not kind(os.fstat(descriptor).st_mode):
            sync(descriptor)

    patch.setattr(os, "fsync", fsync)


def without_synced_content(patch: Patch) -> None:
    """The content of files is not synced."""
    _without_sync(patch, stat.S_ISREG)


def without_synced_names(patch: Patch) -> None:
    """The names in folders are not synced."""
    _without_sync(patch, stat.S_ISDIR)


def without_map_checksums(patch: Patch) -> None:
    """No reader compares the checksum of a map."""
    for module in (local, shard_blocks, shard_scan):
        patch.setattr(module, "checksum_fits", lambda *_: True)


def without_index_checksums(patch: Patch) -> None:
    """The index of a shard is believed."""

    def parse(tail: bytes) -> Any:
        index = tail[: (len(tail) - schema.CRC_BYTES) // 16 * 16]
        return np.frombuffer(index, dtype="<i8").reshape(-1, 2).astype(np.int64)

    patch.setattr(shards, "parse_index_entries", parse)


def without_chunk_checksums(patch: Patch) -> None:
    """Arrays beside the maps are believed."""

    def parse(data: bytes, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
        count = int(np.prod(shape))
        return np.frombuffer(data[: count * dtype.itemsize], dtype, count).reshape(shape)

    for module in (part, _VERIFY):
        patch.setattr(module, "parse_chunk", parse)


def without_sealed_root(patch: Patch) -> None:
    """What the root says is believed."""
    patch.setattr(header, "check_root", lambda *_: None)


def without_sealed_metadata(patch: Patch) -> None:
    """What the arrays' metadata say is believed."""
    patch.setattr(store_module, "check_metadata", lambda *_: None)
    patch.setattr(_VERIFY, "check_metadata", lambda *_: None)


def without_counted_plan(patch: Patch) -> None:
    """Where a file of the plan is lost, zarr answers with zeros."""

    def values(self: PlanTable, name: str) -> Any:
        return np.asarray(self._array(name)[...])

    patch.setattr(PlanTable, "_values", values)
    patch.setattr(PlanTable, "plan", lambda _: nullcontext())


def without_required_commits(patch: Patch) -> None:
    """Rows are read whether they are committed or not."""
    patch.setattr(StorePart, "require", lambda *_: None)


def without_planned_commits(patch: Patch) -> None:
    """Any name among the commits is one."""

    def chunk_of(_: Ledger, name: str) -> int | None:
        return int(name[2:]) if name.startswith("c.") else None

    patch.setattr(Ledger, "_chunk_of", chunk_of)


def without_format_version(patch: Patch) -> None:
    """Stores of any version are taken for ours."""

    class Anything(int):
        def __ne__(self, _: object) -> bool:
            return False

        __hash__ = int.__hash__

    patch.setattr(schema, "FORMAT_VERSION", Anything(1))


def without_named_write_errors(patch: Patch) -> None:
    """What the disk says reaches the caller as it is."""
    patch.setattr(CacheWriter, "_write_errors", lambda *_: nullcontext())


GUARDS: Mapping[str, Callable[[Patch], None]] = {
    "commit-last": without_commit_last,
    "commit-revoked-first": without_commit_revoked_first,
    "whole-creation": without_whole_creation,
    "sweeping": without_sweeping,
    "locks": without_locks,
    "rename": without_rename,
    "synced-content": without_synced_content,
    "synced-names": without_synced_names,
    "map-checksums": without_map_checksums,
    "index-checksums": without_index_checksums,
    "chunk-checksums": without_chunk_checksums,
    "sealed-root": without_sealed_root,
    "sealed-metadata": without_sealed_metadata,
    "counted-plan": without_counted_plan,
    "required-commits": without_required_commits,
    "planned-commits": without_planned_commits,
    "format-version": without_format_version,
    "named-write-errors": without_named_write_errors,
}
