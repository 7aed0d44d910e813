"""Feature maps of a raw store in a folder: rows straight from the shard files, in any order.

A file's size is compared with its index before it is mapped, and writers replace files by a rename
or remove them, so that a map stays whole while others repair the store. What they never do is cut a
file in place (`cp` over it, `rsync --inplace`): a process that has it mapped would then be ended by
SIGBUS, as with any memory map. Copy under another name, then rename.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cache.errors import CacheCorrupt
from cache.maps.gather import DONE, FAILED, TODO, UNKNOWN, Batch, Outcome, gather
from cache.maps.shard_files import OpenFiles, ShardFiles, damage_message
from cache.maps.shards import Bytes, checksum_fits
from cache.schema import CRC_BYTES, CacheSpec
from cache.threads import copying_threads, share

# A file may be replaced while it is read, and then be read anew.
_MAX_FAILURES = 2
_CHECKED_BYTES_PER_THREAD = 4 << 20


class LocalMaps:
    """Gathers maps by the shard index; each is checked the first time it is read.

    Args:
        location: of the store, as messages name it.
        folder: of the store.
        spec: its layout, with the codec `raw`.
        open_files: shared with the stores that are joined with it.
        queue_depth: reads that wait for the disk at once.
    """

    block_rows = 1
    """Any order is equally fast."""

    def __init__(
        self,
        location: str,
        folder: Path,
        spec: CacheSpec,
        open_files: OpenFiles,
        *,
        queue_depth: int,
    ) -> None:
        self._location = location
        self._spec = spec
        self._files = ShardFiles(folder, spec, open_files)
        self._queue_depth = queue_depth
        self._threads = copying_threads()
        self._all_warm = False

    def gather(
        self,
        levels: Sequence[int],
        rows: NDArray[np.intp],
        views: NDArray[np.intp],
        *,
        targets: Sequence[Bytes],
        positions: NDArray[np.intp],
    ) -> None:
        """Copy maps to `targets[level][positions]`.

        Args:
            levels: positions in the layout's levels.
            rows: `[B]` committed rows of this store.
            views: `[B]`.
            targets: per level `[.., bytes of a map]`, C-contiguous.
            positions: `[B]`.

        Raises:
            CacheCorrupt: a file or a map is damaged.
        """
        # In the order of the files: each is opened once, and a disk moves in one direction.
        places = rows * self._spec.num_views + views
        order = places.argsort(kind="stable")
        chunks, slots = np.divmod(places[order], self._spec.shard_rows * self._spec.num_views)
        files = tuple(self._files.levels[level] for level in levels)
        shape = (len(levels), len(rows))
        batch = Batch(
            files=files,
            targets=tuple(targets),
            chunks=chunks,
            slots=slots,
            positions=positions[order],
            states=np.zeros(shape, dtype=np.uint8),
            sums=np.empty((*shape, CRC_BYTES), dtype=np.uint8),
        )
        num_unchecked = failures = 0
        while (outcome := self._copy(batch)).num_failed:
            num_unchecked += outcome.num_unchecked
            failed = np.argwhere(batch.states == FAILED).tolist()
            failures += bool(failed)
            if failures > _MAX_FAILURES:
                number, row = failed[0]
                place = (levels[number], int(chunks[row]), int(slots[row]))
                raise self._damaged_map(*place, "cannot be read")
            self._learn(levels, batch)
            batch.states[batch.states != DONE] = TODO
        if num_unchecked + outcome.num_unchecked:
            self._check(levels, batch)

    def _copy(self, batch: Batch) -> Outcome:
        outcome = gather(
            batch, threads=self._threads, queue_depth=self._queue_depth, all_warm=self._all_warm
        )
        self._all_warm = outcome.num_cold == 0
        return outcome

    def _learn(self, levels: Sequence[int], batch: Batch) -> None:
        """Look at the files of maps that could not be copied; raises `CacheCorrupt`."""
        for state in (FAILED, UNKNOWN):
            places = np.argwhere(batch.states == state).tolist()
            files = {(levels[number], int(batch.chunks[row])) for number, row in places}
            if state == FAILED:  # replaced since its index was read, or damaged
                for file in files:
                    self._files.forget(*file)
            self._files.learn(sorted(files))

    def _check(self, levels: Sequence[int], batch: Batch) -> None:
        """Compare the checksums of maps that were not checked before."""
        remaining = iter(np.argwhere(~batch.is_checked()).tolist())

        def check() -> None:
            for number, row in remaining:
                place = (batch.chunks[row], batch.slots[row])
                if batch.files[number].checked[place]:
                    continue  # the row before is the same
                values = batch.targets[number][batch.positions[row]]
                if not checksum_fits(values, batch.sums[number, row]):
                    raise self._damaged_map(
                        levels[number], int(place[0]), int(place[1]), "fails its checksum"
                    )
                batch.files[number].checked[place] = True

        share(
            check,
            min(self._threads, len(batch.chunks) * batch.row_bytes // _CHECKED_BYTES_PER_THREAD),
        )

    def _damaged_map(self, level: int, chunk: int, slot: int, reason: str) -> CacheCorrupt:
        self._files.forget(level, chunk)
        row, view = divmod(slot, self._spec.num_views)
        row += chunk * self._spec.shard_rows
        reason = f"the {self._spec.views[view]} view {reason}"
        name = self._spec.levels[level].name
        return CacheCorrupt(
            damage_message(self._location, name, chunk, range(row, row + 1), reason)
        )
