"""How fast an extraction will be on this machine, from two batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import RowPlan
from pipeline.config import RunConfig
from stages.extract.content import run_chunk
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.frames import FrameTask


@dataclass(frozen=True)
class Speed:
    """How fast frames pass on this machine, from two batches."""

    load_s: float
    """Seconds to read and crop one frame, in one thread."""
    detect_s: float
    """Seconds of the network for one frame, all views."""
    cpu_bound: bool = False
    """Pictures are computed: several processes do that in turn with the network."""

    def rows_per_s(self, config: RunConfig, workers: int) -> float:
        """Frames per second of `workers` processes that do not hinder each other."""
        threads = 0 if self.cpu_bound and workers > 1 else config.extract.loader_workers
        loading = self.load_s / max(threads, 1)
        one = max(self.detect_s, loading) if threads else self.detect_s + loading
        return workers / max(one, 1e-9)


def measure_speed(
    config: RunConfig,
    dataset: Dataset,
    detector: FrozenDetector,
    plan: RowPlan,
    todo: np.ndarray[Any, np.dtype[np.intp]],
) -> Speed:
    """Return the seconds per frame of the second of two batches."""
    num_views = 2 if config.crop.flip else 1
    per_batch = max(config.extract.batch_size // num_views, 1)
    there = todo[(plan.image_size[todo] > 0).all(axis=1)]
    usable = there if len(there) else todo
    # Neighbours, as an extraction reads them: a video is slow to jump about in.
    chosen = usable[: 2 * per_batch]
    batches = [chosen[:per_batch], chosen[-per_batch:]]
    load_s = detect_s = 0.0
    for members in batches:
        load_s, detect_s = _seconds(config, dataset, detector, config.crop, plan, members)
    return Speed(load_s, detect_s, dataset.cpu_bound)


def _seconds(
    config: RunConfig,
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    plan: RowPlan,
    members: np.ndarray[Any, np.dtype[np.intp]],
) -> tuple[float, float]:
    """Return seconds per frame of reading and cropping, and of the network."""
    rows = [int(row) for row in members]
    lenient = config.extract.model_copy(update={"strict": False})
    start = time.perf_counter()
    task = FrameTask(dataset, crop, plan, rows)
    frames = [task(row) for row in rows]
    loaded = time.perf_counter()
    run_chunk(frames, detector, plan, lenient, dataset.imported_keypoints())
    ended = time.perf_counter()
    return (loaded - start) / len(rows), (ended - loaded) / len(rows)
