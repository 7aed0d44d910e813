"""A tiny extraction for real Dask workers, datasets that harm them, and processes to start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.extract.chunks import ExtractConfig, ExtractProgress, ExtractSummary, open_job
from stages.extract.crops import CropConfig
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.detectors.base import Detection
from stages.extract.tasks import ExtractRequest
from tests.test_extract.studio import DotDetector

ROOT = Path(__file__).parents[2]
CONFIG = ExtractConfig(batch_size=4, shard_rows=1)  # nine chunks
CROP = CropConfig()


class NotesItsReads(Human36m):
    """Leaves a file for every row that it reads."""

    def __init__(self, root: Path, marks: Path) -> None:
        super().__init__(root)
        self._marks = marks
        marks.mkdir(exist_ok=True)

    def load_image(self, row: int) -> NDArray[np.uint8]:
        (self._marks / f"{row}-{os.urandom(4).hex()}").touch()
        return super().load_image(row)

    @staticmethod
    def rows_read(marks: Path) -> list[int]:
        """Every row as often as it was read, in order of the rows."""
        return sorted(int(path.name.split("-")[0]) for path in marks.iterdir())


class KillsItsReader(NotesItsReads):
    """Kills the first process that reads row 4, or every one."""

    def __init__(self, root: Path, marks: Path, times: int) -> None:
        super().__init__(root, marks)
        self._times = times

    def load_image(self, row: int) -> NDArray[np.uint8]:
        image = super().load_image(row)
        if row == 4 and self.rows_read(self._marks).count(4) <= self._times:
            os.kill(os.getpid(), signal.SIGKILL)
        return image


class BreaksAtRow(NotesItsReads):
    """Fails at row 4, in a way that nobody foresaw, as many times as told."""

    def __init__(self, root: Path, marks: Path, times: int) -> None:
        super().__init__(root, marks)
        self._times = times

    def load_image(self, row: int) -> NDArray[np.uint8]:
        image = super().load_image(row)
        if row == 4 and self.rows_read(self._marks).count(4) <= self._times:
            raise ConnectionResetError("planted")
        return image


class CountsThreads(DotDetector):
    """Its maps hold the number of torch threads."""

    def detect(self, crops: NDArray[np.uint8]) -> Detection:
        import torch

        found = super().detect(crops)
        maps = dict(found.features)
        maps["x32"] = np.full_like(maps["x32"], torch.get_num_threads())
        return Detection(found.keypoints_crop_px, maps)


def distribute(
    dataset: partial[Human36m],
    store: Path,
    config: ExtractConfig = CONFIG,
    *,
    detector: Callable[[], DotDetector] = DotDetector,
    num_workers: int = 2,
    seen: list[ExtractProgress] | None = None,
    stop_after: int | None = None,
    **options: Any,
) -> ExtractSummary:
    """Extract on Dask workers: two of this machine, or those of the config's scheduler."""
    from pipeline.extraction.scheduler import fill_with_dask

    seen = [] if seen is None else seen
    job = open_job(dataset(), detector(), CROP, store, config)
    request = ExtractRequest(str(store), dataset, detector, CROP, config, os.urandom(8).hex())
    return fill_with_dask(
        job,
        request,
        num_workers=num_workers,
        device="cpu",
        progress=seen.append,
        stop=lambda: stop_after is not None and bool(seen) and seen[-1].chunks_done >= stop_after,
        **options,
    )


def started(*words: str) -> subprocess.Popen[bytes]:
    """Start Python with these words, in the project's folder."""
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def ended(process: subprocess.Popen[bytes]) -> None:
    """End a process that was started here."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
