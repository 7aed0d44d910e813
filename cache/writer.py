"""Writing a store chunk by chunk: data, sync, commit; killed at any moment, resumed anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from cache import schema
from cache.errors import CacheError, CacheMismatch, CacheWriteError
from cache.fingerprint import diff_identities
from cache.header import StoreHeader, plain_identity, read_header
from cache.ledger import Ledger
from cache.maps.codecs import feature_files
from cache.maps.shards import all_finite, as_bytes, chunk_parts
from cache.plan import RowPlan
from cache.schema import CacheSpec, FrameStatus
from cache.storage import Location, Storage, open_storage
from cache.storage.files import Part
from cache.store import create_store


@dataclass(frozen=True, eq=False)
class ChunkData:
    """Everything that a chunk of R rows needs.

    Args:
        features: level -> `[R, V, H, W, C]`, cast to the store's dtype.
        keypoints: source -> `[R, V, J, 3]` x, y, score: px of the unmirrored picture, left and
            right already exchanged in the flipped view.
        crop_affine: `[R, V, 2, 3]` image px to crop px, mirror included.
        status: `[R]` codes of `FrameStatus`; rows that are not OK hold zeros.
    """

    features: Mapping[str, NDArray[Any]]
    keypoints: Mapping[str, NDArray[Any]]
    crop_affine: NDArray[Any]
    status: NDArray[Any]


class CacheWriter:
    """Writes the chunks of one store; several writers, also in other processes, may share it."""

    def __init__(self, storage: Storage, header: StoreHeader) -> None:
        self._storage = storage
        self._header = header
        self._spec = header.spec
        self._arrays = schema.chunk_arrays(header.spec, header.label_skeleton)
        self._ledger = Ledger(storage, header.spec.num_chunks)
        self._open = True

    @classmethod
    def open(
        cls,
        location: Location | Storage,
        *,
        spec: CacheSpec,
        plan: RowPlan,
        feature_identity: Mapping[str, Any],
        content_identity: Mapping[str, Any],
        scales: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> CacheWriter:
        """A writer of the store at `location`, which is created or must be of the same identity.

        Args:
            location: folder or URL.
            spec: layout.
            plan: the rows.
            feature_identity: what the features depend on.
            content_identity: what the rows are.
            scales: `[C]` by name of each 8-bit level: value = code * scale.

        Raises:
            CacheMismatch: the store belongs to another detector, crop, dataset, plan or layout.
            CacheWriteError: the folder cannot be written.
            SchemaMismatch: the folder is no store, or of another format version.
        """
        storage = open_storage(location)
        if spec.num_rows != len(plan):
            raise CacheError(f"the spec plans {spec.num_rows} rows, the plan has {len(plan)}")
        header = StoreHeader(
            spec=spec,
            label_skeleton=plan.skeleton,
            feature_identity=plain_identity(feature_identity),
            content_identity=plain_identity(content_identity),
            plan_hash=plan.fingerprint(),
            scales=_checked_scales(spec, scales or {}),
        )
        try:
            if not storage.exists():
                create_store(storage, header, plan)
            _refuse_other(storage.location, read_header(storage), header)
            storage.sweep([*schema.chunk_arrays(spec, plan.skeleton), schema.COMMIT])
        except OSError as error:
            if isinstance(error, CacheError):
                raise
            raise CacheWriteError(
                f"cannot write the store {storage.location}: {error.strerror or error}; "
                "free space or choose another data_root, then run the same command again"
            ) from error
        return cls(storage, header)

    @property
    def location(self) -> str:
        """Folder or URL of the store."""
        return self._storage.location

    @property
    def spec(self) -> CacheSpec:
        """Layout of the store."""
        return self._spec

    @property
    def num_chunks(self) -> int:
        """Chunks of the store, the unit of work and of commit."""
        return self._spec.num_chunks

    def chunk_rows(self, chunk: int) -> range:
        """Rows of a chunk."""
        return self._spec.chunk_rows(chunk)

    def missing_chunks(self) -> list[int]:
        """Chunks that nobody has committed yet, ascending."""
        return self._ledger.missing()

    def write_chunk(self, chunk: int, data: ChunkData) -> bool:
        """Write and commit a chunk; False, and nothing done, if it is committed already.

        Raises:
            CacheError: shapes, sources or levels are not the spec's, or a number is not finite.
            CacheWriteError: the disk refused; committed chunks are untouched.
        """
        rows = self.chunk_rows(chunk)
        if not self._open:
            raise CacheError(f"the writer of {self.location} is closed")
        arrays = self._checked_arrays(chunk, rows, data)
        if self._ledger.has(chunk):
            return False
        files: dict[str, Iterable[Part]] = {}
        for level in self._spec.levels:
            values = arrays.pop(schema.feature_path(level.name))
            files |= feature_files(self._spec, level, chunk, values)
        for name, values in arrays.items():
            files[self._chunk_key(name, chunk)] = chunk_parts(values, self._spec.shard_rows)
        with self._write_errors(chunk):
            self._storage.write(files)
            self._ledger.commit(chunk)
        return True

    def discard_chunk(self, chunk: int) -> None:
        """Take a chunk back so that it can be written again: the commit first, then the data."""
        self.chunk_rows(chunk)
        with self._write_errors(chunk):
            self._ledger.revoke(chunk)
            for name in self._arrays:
                self._storage.delete(self._chunk_key(name, chunk))

    def close(self) -> None:
        """End writing; every chunk written so far is already durable."""
        self._open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _chunk_key(self, name: str, chunk: int) -> str:
        return f"{name}/{schema.chunk_key(chunk, len(self._arrays[name][0]) + 1)}"

    @contextmanager
    def _write_errors(self, chunk: int) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            done = self.num_chunks - len(self.missing_chunks())
            raise CacheWriteError(
                f"cannot write chunk {chunk} of {self.location}: {error.strerror or error}; "
                f"its {done} committed chunks of {self.num_chunks} are safe. "
                "Free space, then run the same command again to resume"
            ) from error

    def _checked_arrays(self, chunk: int, rows: range, data: ChunkData) -> dict[str, NDArray[Any]]:
        """Arrays by Zarr path, in the store's dtypes."""
        spec = self._spec
        where = f"chunk {chunk} (rows {rows.start}-{rows.stop - 1}) of {self._storage.name}"
        for kind, given, wanted in (
            ("features", data.features, [level.name for level in spec.levels]),
            ("keypoints", data.keypoints, spec.keypoint_sources),
        ):
            if set(given) != set(wanted):
                raise CacheError(
                    f"{where}: {kind} are {sorted(given)}, the spec has {sorted(wanted)}"
                )
        given_arrays: dict[str, NDArray[Any]] = {
            **{schema.feature_path(name): value for name, value in data.features.items()},
            **{schema.keypoints_path(name): value for name, value in data.keypoints.items()},
            schema.AFFINE: data.crop_affine,
            schema.STATUS: data.status,
        }
        arrays = {}
        for name, (row_shape, dtype) in self._arrays.items():
            given_array, shape = given_arrays[name], (len(rows), *row_shape)
            if given_array.shape != shape:
                raise CacheError(
                    f"{where}: {name} must have shape {shape}, got {given_array.shape}"
                )
            if dtype.kind in "iu" and given_array.dtype != dtype:
                raise CacheError(
                    f"{where}: {name} holds {dtype} codes, got {given_array.dtype}; "
                    "8-bit stores are made by 'posecache cache recode'"
                )
            with np.errstate(over="ignore"):  # becomes infinite, which the next check reports
                arrays[name] = given_array.astype(dtype, copy=False)
            if not _finite(arrays[name]):
                raise CacheError(
                    f"{where}: {name} is not finite as {dtype}; give such rows the status "
                    "NOT_FINITE and zeros, or store float32 if float16 overflows"
                )
        if not np.isin(data.status, list(FrameStatus)).all():
            raise CacheError(
                f"{where}: a status is none of {[status.name for status in FrameStatus]}"
            )
        return arrays


def _checked_scales(
    spec: CacheSpec, scales: Mapping[str, NDArray[np.float32]]
) -> dict[str, list[float]]:
    """Scales as the header holds them; raises `CacheError` unless they fit the 8-bit levels."""
    wanted = {level.name: level.channels for level in spec.levels if level.dtype is not None}
    if set(scales) != set(wanted):
        raise CacheError(f"scales are given for {sorted(scales)}, 8-bit are {sorted(wanted)}")
    for name, scale in scales.items():
        if scale.shape != (wanted[name],) or not (np.isfinite(scale).all() and (scale > 0).all()):
            raise CacheError(f"the scales of {name} must be {wanted[name]} positive numbers")
    return {name: np.asarray(scale, np.float32).tolist() for name, scale in scales.items()}


def _finite(values: NDArray[Any]) -> bool:
    if values.dtype in (np.float16, np.float32) and values.ndim == 5:
        # Row by row, so that the temporary words stay in the processor's cache.
        return all(all_finite(as_bytes(row), values.dtype.itemsize) for row in values)
    return bool(np.isfinite(values).all())


def _refuse_other(location: str, stored: StoreHeader, asked: StoreHeader) -> None:
    """Raise `CacheMismatch` unless both headers say the same."""
    differing = diff_identities(stored.to_json(), asked.to_json())
    if differing:
        raise CacheMismatch(
            f"{location} was written with other settings:\n  "
            + "\n  ".join(differing)
            + "\nExtract into a store of another name (dataset.label) or place (data_root), or "
            "delete this one first"
        )
