"""Reading stores: feature maps in any order at memory speed, and all that belongs to the rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from cache import schema
from cache.cameras import Camera
from cache.errors import CacheError
from cache.joining import joined_index, refuse_unlike
from cache.maps.shard_files import OpenFiles
from cache.part import StorePart
from cache.plan import IndexColumn
from cache.schema import CacheSpec, LevelSpec
from cache.skeletons import Skeleton, get_skeleton
from cache.storage import Location, open_storage
from cache.threads import QUEUE_DEPTH


class CacheReader:
    """One store, or several of equal feature identity and layout joined in the order given.

    Rows are numbered through. Usable from several threads; a pickled reader opens the stores anew.

    Args:
        locations: folder or URL of a store, or several.
        allow_incomplete: open a store with missing chunks; `committed()` tells which rows exist.
        queue_depth: reads that wait for the disk or the network at once.

    Raises:
        CacheMissing: no such store.
        CacheIncomplete: chunks are missing and `allow_incomplete` is off.
        CacheMismatch: the stores do not fit together; every differing key is named.
        SchemaMismatch: a store of another format version.
    """

    def __init__(
        self,
        locations: Location | Sequence[Location],
        *,
        allow_incomplete: bool = False,
        queue_depth: int = QUEUE_DEPTH,
    ) -> None:
        given = [locations] if isinstance(locations, str | PathLike) else list(locations)
        storages = [open_storage(location) for location in given]
        self._locations = tuple(storage.location for storage in storages)
        if not storages or len(set(self._locations)) != len(storages):
            raise CacheError(f"a reader needs one store or several different ones, got {given}")
        self._allow_incomplete = allow_incomplete
        self._queue_depth = queue_depth
        self._open_files = OpenFiles()
        self._parts = [
            StorePart(storage, self._open_files, queue_depth=queue_depth) for storage in storages
        ]
        refuse_unlike(self._parts)
        if not allow_incomplete:
            for part in self._parts:
                part.require(np.arange(part.spec.num_chunks))
        self._levels = {level.name: level for level in self.spec.levels}
        self._starts = np.cumsum([0] + [part.spec.num_rows for part in self._parts])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __reduce__(self) -> tuple[Any, ...]:
        opened = partial(
            type(self), allow_incomplete=self._allow_incomplete, queue_depth=self._queue_depth
        )
        return opened, (self._locations,)

    @property
    def locations(self) -> tuple[str, ...]:
        """Folders or URLs of the stores."""
        return self._locations

    @property
    def name(self) -> str:
        """Name of the first store, without `.zarr`."""
        return self._parts[0].storage.name.removesuffix(".zarr")

    @property
    def spec(self) -> CacheSpec:
        """Layout; of the first store if several are joined (they differ in rows only)."""
        return self._parts[0].spec

    @property
    def skeleton(self) -> Skeleton:
        """Joint set of the detector's keypoints."""
        return get_skeleton(self.spec.skeleton)

    def source_skeleton(self, source: str) -> Skeleton:
        """Joint set of a keypoint source; raises `CacheError` for one that the store lacks."""
        self._require_source(source)
        header = self._parts[0].header
        return get_skeleton(self.spec.source_skeleton(source, header.label_skeleton))

    @property
    def label_skeleton(self) -> Skeleton:
        """Joint set of the labels and of `gt` keypoints."""
        return get_skeleton(self._parts[0].header.label_skeleton)

    @property
    def views(self) -> tuple[str, ...]:
        """Names of the views; `view` arguments are positions in it."""
        return self.spec.views

    @property
    def levels(self) -> dict[str, LevelSpec]:
        """Levels by name, finest first."""
        return dict(self._levels)

    def level_dtype(self, name: str) -> np.dtype[Any]:
        """Type of a level's maps as they are read: that of the store, or 8-bit codes."""
        return self.spec.level_dtype(self._level(name))

    def scales(self, name: str) -> NDArray[np.float32] | None:
        """`[C]` what a level's 8-bit codes are multiplied by; None for numbers that stand as is."""
        return self._parts[0].scales(self._level(name))

    @property
    def block_rows(self) -> int:
        """Rows that are read together: 1 if any order is equally fast, else see `shuffled`."""
        return max(part.maps.block_rows for part in self._parts)

    @property
    def feature_identity(self) -> dict[str, Any]:
        """What the features depend on; equal in all joined stores."""
        return self._parts[0].header.feature_identity

    @property
    def content_identity(self) -> dict[str, Any]:
        """What the rows are; `{"joined": [...]}` for several stores."""
        identities = [part.header.content_identity for part in self._parts]
        return identities[0] if len(identities) == 1 else {"joined": identities}

    @property
    def complete(self) -> bool:
        """Whether every chunk is committed, looked up now."""
        return not any(part.ledger.missing() for part in self._parts)

    def committed(self) -> NDArray[np.bool_]:
        """`[N]` rows that can be read, looked up now."""
        return np.concatenate([part.committed_rows() for part in self._parts])

    def read(
        self,
        rows: ArrayLike,
        *,
        levels: Sequence[str] | None = None,
        view: int | ArrayLike = 0,
        out: Mapping[str, NDArray[Any]] | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Feature maps `[B, H, W, C]` by level, in the order of `rows`.

        Args:
            rows: `[B]` row numbers, any order, repeats allowed.
            levels: which, None for all.
            view: position in `views`, or one per row.
            out: C-contiguous arrays to fill and return instead of new ones; saves page faults.

        Raises:
            CacheIncomplete: a row is not committed.
            CacheCorrupt: a map fails its checksum; names chunk, row and level.
            IndexError: a row or view does not exist.
        """
        numbers = self._checked_rows(rows)
        views = np.empty(numbers.shape, dtype=np.intp)
        views[:] = view
        if not _within(views, self.spec.num_views):
            raise IndexError(f"view {view!r} of a store with the views {self.views}")
        chosen = self._chosen_levels(levels)
        batch = {level.name: self._out_array(level, len(numbers), out) for level in chosen}
        for part, positions, local in self._split(numbers):
            part.gather(chosen, local, views[positions], out=batch, positions=positions)
        return batch

    def keypoints(
        self, source: str, view: int = 0, *, rows: ArrayLike | None = None
    ) -> NDArray[np.float32]:
        """`[N, J, 3]` x, y, score; px of the unmirrored picture, left/right already exchanged.

        Args:
            source: `detector`, `gt`, `imported:<name>`.
            view: position in `views`.
            rows: row numbers, None for all.

        Raises:
            CacheError: the store has no such source.
            CacheIncomplete: a row is not committed.
        """
        self._require_source(source)
        return self._rows_of(schema.keypoints_path(source), rows)[:, self._checked_view(view)]

    def affine(self, view: int = 0, *, rows: ArrayLike | None = None) -> NDArray[np.float64]:
        """`[N, 2, 3]` image px to crop px of a view, mirror included."""
        return self._rows_of(schema.AFFINE, rows)[:, self._checked_view(view)]

    def status(self, *, rows: ArrayLike | None = None) -> NDArray[np.uint8]:
        """`[N]` codes of `FrameStatus`."""
        return self._rows_of(schema.STATUS, rows)

    def has_label(self, name: str) -> bool:
        """Whether all stores have this label."""
        return all(part.table.has_label(name) for part in self._parts)

    def labels(self, name: str) -> NDArray[Any]:
        """`[N, ...]` label of a `RowPlan`, e.g. valid; raises `CacheError` if there is none."""
        return np.concatenate([part.table.label(name) for part in self._parts])

    def image_size(self) -> NDArray[np.int32]:
        """`[N, 2]` (H, W) of the pictures, (0, 0) where one is missing."""
        return np.concatenate([part.table.image_size() for part in self._parts])

    def cameras(self) -> tuple[Camera, ...]:
        """Cameras that the codes of `index("camera")` count."""
        return tuple(camera for part in self._parts for camera in part.table.cameras())

    def index(self, name: str) -> IndexColumn:
        """`[N]` column of the row table; words of joined stores share one vocabulary.

        Clips and cameras of different stores stay different, also where they are called alike:
        their words get the store's number in front.
        """
        return joined_index(name, self._parts)

    def _require_source(self, source: str) -> None:
        if source not in self.spec.keypoint_sources:
            raise CacheError(
                f"{self._locations[0]} has no keypoints {source!r}, "
                f"there are {', '.join(self.spec.keypoint_sources)}"
            )

    def _split(
        self, numbers: NDArray[np.intp]
    ) -> Iterator[tuple[StorePart, NDArray[np.intp], NDArray[np.intp]]]:
        """Stores with the positions in `numbers` and the local rows that fall to them."""
        if len(self._parts) == 1:
            yield self._parts[0], np.arange(len(numbers)), numbers
            return
        owners = np.searchsorted(self._starts, numbers, side="right") - 1
        for number, part in enumerate(self._parts):
            positions = np.flatnonzero(owners == number)
            if positions.size:
                yield part, positions, numbers[positions] - self._starts[number]

    def _rows_of(self, name: str, rows: ArrayLike | None) -> NDArray[Any]:
        numbers = np.arange(len(self)) if rows is None else self._checked_rows(rows)
        pieces = [
            (positions, part.chunk_rows(name, local))
            for part, positions, local in self._split(numbers)
        ]
        if len(pieces) == 1:
            return pieces[0][1]
        shape, dtype = self._parts[0].chunk_array(name)
        values = np.empty((len(numbers), *shape), dtype=dtype)
        for positions, piece in pieces:
            values[positions] = piece
        return values

    def _checked_rows(self, rows: ArrayLike) -> NDArray[np.intp]:
        numbers = np.asarray(rows)
        if numbers.ndim != 1 or (numbers.size and numbers.dtype.kind not in "iu"):
            raise IndexError(
                f"rows are a list of whole numbers, got {numbers.dtype} of shape {numbers.shape}"
            )
        numbers = numbers.astype(np.intp, copy=False)
        if not _within(numbers, len(self)):
            raise IndexError(
                f"rows run from {numbers.min()} to {numbers.max()}, the reader has {len(self)}"
            )
        return numbers

    def _checked_view(self, view: int) -> int:
        if not 0 <= view < self.spec.num_views:
            raise IndexError(f"view {view!r} of a store with the views {self.views}")
        return view

    def _chosen_levels(self, levels: Sequence[str] | None) -> list[LevelSpec]:
        return [self._level(name) for name in (self._levels if levels is None else levels)]

    def _level(self, name: str) -> LevelSpec:
        if name not in self._levels:
            raise CacheError(
                f"{self._locations[0]} has no level {name!r}, there are {', '.join(self._levels)}"
            )
        return self._levels[name]

    def _out_array(
        self, level: LevelSpec, num_rows: int, out: Mapping[str, NDArray[Any]] | None
    ) -> NDArray[Any]:
        shape, dtype = (num_rows, *level.map_shape), self.spec.level_dtype(level)
        if out is None:
            return np.empty(shape, dtype=dtype)
        array = out[level.name]
        if array.shape != shape or array.dtype != dtype or not array.flags.c_contiguous:
            raise CacheError(
                f"out[{level.name!r}] must be C-contiguous {dtype} of shape {shape}, "
                f"got {array.dtype} of shape {array.shape}"
            )
        return array


def _within(numbers: NDArray[np.intp], count: int) -> bool:
    """Whether all lie in `range(count)`; negative ones are huge without their sign."""
    return not numbers.size or int(numbers.view(np.uintp).max()) < count
