"""A tiny extraction for real Dask workers, and a dataset that kills the one that reads it."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from stages.extract.chunks import ExtractConfig, ExtractProgress, ExtractSummary, open_job
from stages.extract.crops import CropConfig
from stages.extract.datasets.human36m import Human36m
from stages.extract.tasks import ExtractRequest
from tests.test_extract.studio import DotDetector

CONFIG = ExtractConfig(batch_size=4, shard_rows=1)  # nine chunks
CROP = CropConfig()


class KillsItsReader(Human36m):
    """Kills the first process that reads row 4."""

    def __init__(self, root: Path, marker: Path) -> None:
        super().__init__(root)
        self._marker = marker

    def load_image(self, row: int) -> NDArray[np.uint8]:
        if row == 4:
            try:
                self._marker.touch(exist_ok=False)
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().load_image(row)


class BreaksAtRow(Human36m):
    """Fails at row 4, in a way that nobody foresaw, as many times as told."""

    def __init__(self, root: Path, marks: Path, times: int) -> None:
        super().__init__(root)
        self._marks, self._times = marks, times

    def load_image(self, row: int) -> NDArray[np.uint8]:
        if row == 4 and len(list(self._marks.iterdir())) < self._times:
            (self._marks / os.urandom(4).hex()).touch()
            raise ConnectionResetError("planted")
        return super().load_image(row)


def distribute(
    dataset: partial[Human36m],
    store: Path,
    config: ExtractConfig = CONFIG,
    *,
    num_workers: int = 2,
    seen: list[ExtractProgress] | None = None,
    stop_after: int | None = None,
) -> ExtractSummary:
    """Extract on Dask workers: two of this machine, or those of the config's scheduler."""
    from pipeline.scheduler import fill_with_dask

    seen = [] if seen is None else seen
    job = open_job(dataset(), DotDetector(), CROP, store, config)
    request = ExtractRequest(str(store), dataset, DotDetector, CROP, config, os.urandom(8).hex())
    return fill_with_dask(
        job,
        request,
        num_workers=num_workers,
        device="cpu",
        progress=seen.append,
        stop=lambda: stop_after is not None and bool(seen) and seen[-1].chunks_done >= stop_after,
    )
