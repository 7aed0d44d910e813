"""Frames through a frozen detector in memory: what a store would hold of them, and no store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cache import ChunkData, FrameStatus, RowPlan
from stages.extract.content import run_chunk
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.extraction import ExtractConfig
from stages.extract.frames import FrameTask
from stages.extract.jobs import cache_spec
from stages.extract.loading import Loader


@dataclass(frozen=True, eq=False)
class PassedFrames:
    """R frames that went through the detector."""

    rows: tuple[int, ...]
    """Of the dataset."""
    content: ChunkData
    """As a store would hold it; frames that are unusable have zeros."""
    messages: tuple[str, ...]
    """Why a frame is unusable; empty where it is not, or where the network's output is at fault."""

    @property
    def usable(self) -> NDArray[np.intp]:
        """Positions of the frames that can be used."""
        return np.flatnonzero(self.content.status == FrameStatus.OK)


def pass_frames(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    config: ExtractConfig,
    *,
    rows: Sequence[int] | None = None,
    plan: RowPlan | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[PassedFrames]:
    """Yields the frames in parts of a store's chunk, in order; loading overlaps the network.

    The same rows in the same parts give the very bytes that an extraction writes.

    Args:
        dataset: the frames.
        detector: the network.
        crop: how persons are cut out.
        config: batch size, threads, precision of the maps, loader threads, strict.
        rows: which rows; None for all.
        plan: the row table, where it is not the dataset's own (other boxes).
        stop: asked before each part; True ends it.

    Raises:
        DetectorError: the crop is not of the detector's input size.
        FrameError: with `strict`, the first frame that cannot be used.
    """
    plan = dataset.plan() if plan is None else plan
    imported = dataset.imported_keypoints()
    spec = cache_spec(plan, imported, detector, crop, config)
    chosen = range(len(plan)) if rows is None else rows
    task = FrameTask(dataset, crop, plan, chosen)
    processes = dataset.cpu_bound and config.loader_workers > 0
    with Loader(
        task, workers=config.loader_workers, processes=processes, ahead=spec.shard_rows
    ) as loader:
        frames = loader.map(chosen)
        for start in range(0, len(chosen), spec.shard_rows):
            if stop():
                return
            members = [next(frames) for _ in chosen[start : start + spec.shard_rows]]
            content = run_chunk(members, detector, plan, config, imported)
            yield PassedFrames(
                tuple(frame.row for frame in members),
                content,
                tuple(frame.message for frame in members),
            )
