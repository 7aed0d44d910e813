"""Stage 1: pictures through a frozen detector into a store, chunk by chunk, in this process."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from cache import ChunkData
from cache.storage import Location
from stages.extract.attempts import Attempts
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
    bytes. At most four chunks are held: crops of one ahead and of one in the network, maps of that
    one and of one that is written.

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
        ChunksFailed: chunks failed at every try by something else; all others were done.
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
    filling = _Filling(job, dataset, detector, crop, config, progress, stop or (lambda: False))
    filling.run()
    return filling.summary()


class _Filling:
    """The chunks of a job on their way: loading, the network and writing overlap."""

    def __init__(
        self,
        job: Job,
        dataset: Dataset,
        detector: FrozenDetector,
        crop: CropConfig,
        config: ExtractConfig,
        progress: Callable[[ExtractProgress], None] | None,
        stop: Callable[[], bool],
    ) -> None:
        self._job, self._dataset, self._detector = job, dataset, detector
        self._crop, self._config, self._progress, self._stop = crop, config, progress, stop
        self._attempts = Attempts(job.todo)
        self._reasons: Counter[str] = Counter()
        self._written = self._rows_done = 0
        self._stopped = False

    def run(self) -> None:
        """Try all chunks, those that failed again after the others."""
        while (chunks := self._attempts.waiting) and not self._stopped:
            self._stream(chunks)

    def summary(self) -> ExtractSummary:
        """Return what was done; raises ChunksFailed, unless the work was stopped."""
        job = self._job
        summary = job.summary(self._written, self._reasons)
        if not self._stopped:
            self._attempts.refuse_failures(summary.location, job.writer.chunk_rows, job.left())
        return summary

    def _stream(self, chunks: Sequence[int]) -> None:
        """Do these chunks up to the first failure, which may have broken what loads."""
        job, config = self._job, self._config
        rows = [row for chunk in chunks for row in job.writer.chunk_rows(chunk)]
        task = FrameTask(self._dataset, self._crop, job.plan, rows)
        processes = self._dataset.cpu_bound and config.loader_workers > 0
        # The frames of one chunk are made while the network is busy with those of another.
        ahead = job.writer.spec.shard_rows
        writing: _Writing | None = None
        with (
            Loader(task, workers=config.loader_workers, processes=processes, ahead=ahead) as loader,
            ThreadPoolExecutor(1, thread_name_prefix="posecache-writer") as pool,
        ):
            frames = loader.map(rows)
            for _ in chunks:
                self._stopped = self._stop()
                if self._stopped:
                    break
                chunk = self._attempts.take()
                content = self._content(chunk, frames)
                if content is None:
                    break
                if writing is not None:
                    self._finish(writing)  # one is written while the next one is computed
                future = pool.submit(job.writer.write_chunk, chunk, content)
                writing = _Writing(chunk, future, invalid_of_chunk(content.status))
            if writing is not None:
                self._finish(writing)

    def _finish(self, writing: _Writing) -> None:
        try:
            self._written += writing.written.result()
        except Exception as error:
            self._attempts.failed(writing.chunk, error)
            self._rows_done -= len(self._job.writer.chunk_rows(writing.chunk))
        else:
            self._attempts.succeeded(writing.chunk)
            self._reasons.update(writing.invalid_by_reason)

    def _content(self, chunk: int, frames: Iterator[Frame]) -> ChunkData | None:
        """What a chunk holds, from the next frames; None if it failed."""
        members: list[Frame] = []
        for _ in self._job.writer.chunk_rows(chunk):
            # Not within `try`: an error of the screen is none of the chunk.
            self._say(self._rows_done + len(members))
            try:
                members.append(next(frames))
            except Exception as error:
                self._attempts.failed(chunk, error)
                return None
        try:
            content = run_chunk(
                members, self._detector, self._job.plan, self._config, self._job.imported
            )
        except Exception as error:
            self._attempts.failed(chunk, error)
            return None
        self._rows_done += len(members)
        return content

    def _say(self, rows_done: int) -> None:
        if self._progress is None:
            return
        job = self._job
        chunks_done = rows_done // job.writer.spec.shard_rows
        seconds = time.perf_counter() - job.began
        self._progress(
            ExtractProgress(rows_done, job.num_rows, seconds, chunks_done, len(job.todo))
        )


@dataclass(frozen=True)
class _Writing:
    """A chunk that is being written."""

    chunk: int
    written: Future[bool]
    """Whether it was not there yet."""
    invalid_by_reason: Counter[str]
