"""Stage 1: pictures through a frozen detector into a store, chunk by chunk, in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from cache.storage import Location
from stages.extract.content import run_chunk
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.extraction import (
    ChunkPart,
    ChunkPlan,
    ExtractConfig,
    ExtractProgress,
    ExtractSummary,
)
from stages.extract.frames import Frame, FrameTask
from stages.extract.jobs import (
    Job,
    cache_spec,
    feature_identity,
    invalid_of_chunk,
    open_job,
    plan_chunks,
)
from stages.extract.loading import Loader

__all__ = [
    "ChunkPart",
    "ChunkPlan",
    "ExtractConfig",
    "ExtractProgress",
    "ExtractSummary",
    "cache_spec",
    "extract",
    "feature_identity",
    "fill",
    "open_job",
    "plan_chunks",
    "run_chunk",
]


def extract(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    location: Location,
    config: ExtractConfig | None = None,
    *,
    part: ChunkPart | None = None,
    redo: Collection[int] = (),
    progress: Callable[[ExtractProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ExtractSummary:
    """Fill the store at `location` with whatever chunks it lacks, and return what was done.

    Loading, the network and writing overlap. Called again after a kill, it ends with the same
    bytes.

    Args:
        dataset: the frames.
        detector: the network.
        crop: how persons are cut out.
        location: of the store, which is created if there is none.
        config: how it is filled; `workers` and `scheduler` are not used here.
        part: only these chunks; None for all.
        redo: committed chunks that are thrown away first and filled again.
        progress: called with every row.
        stop: asked before each chunk; True ends the extraction with what is committed by then.

    Raises:
        DetectorError: the crop is not of the detector's input size.
        CacheMismatch: the store was made by another detector, crop or dataset.
        CacheWriteError: the disk refuses.
        FrameError: with `strict`, the first frame that cannot be used.
    """
    config = config or ExtractConfig()
    job = open_job(dataset, detector, crop, location, config, part=part, redo=redo)
    return fill(job, dataset, detector, crop, config, progress=progress, stop=stop)


def fill(
    job: Job,
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    config: ExtractConfig,
    *,
    progress: Callable[[ExtractProgress], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> ExtractSummary:
    """Do an open job in this process; arguments and errors as for `extract`."""
    if not job.todo:
        return job.summary(0, {})
    todo = [row for chunk in job.todo for row in job.writer.chunk_rows(chunk)]
    task = FrameTask(dataset, crop, job.plan, todo)
    processes = dataset.cpu_bound and config.loader_workers > 0
    with Loader(task, workers=config.loader_workers, processes=processes) as loader:
        frames = _counted(loader.map(todo), job, progress)
        chunks_done, reasons = _fill(job, frames, detector, config, stop or (lambda: False))
    return job.summary(chunks_done, reasons)


def _fill(
    job: Job,
    frames: Iterator[Frame],
    detector: FrozenDetector,
    config: ExtractConfig,
    stop: Callable[[], bool],
) -> tuple[int, Counter[str]]:
    """Return how many chunks were written, and how many rows are unusable, by reason."""
    reasons: Counter[str] = Counter()
    written: list[Future[bool]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="posecache-writer") as pool:
        for chunk in job.todo:
            if stop():
                break
            members = list(islice(frames, len(job.writer.chunk_rows(chunk))))
            content = run_chunk(members, detector, job.plan, config)
            if written:
                written[-1].result()  # one chunk is written while the next one is computed
            written.append(pool.submit(job.writer.write_chunk, chunk, content))
            reasons.update(invalid_of_chunk(content.status))
        return sum(future.result() for future in written), reasons


def _counted(
    frames: Iterator[Frame],
    job: Job,
    progress: Callable[[ExtractProgress], None] | None,
) -> Iterator[Frame]:
    num_rows, shard_rows = job.num_rows, job.writer.spec.shard_rows
    for count, frame in enumerate(frames):
        if progress is not None:
            seconds = time.perf_counter() - job.began
            progress(ExtractProgress(count, num_rows, seconds, count // shard_rows, len(job.todo)))
        yield frame
