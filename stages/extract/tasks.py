"""One chunk of an extraction in whatever process it is asked for."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from dataclasses import dataclass

from cache import CacheMissing
from cache.ledger import Ledger
from cache.storage import open_storage
from stages.extract.content import run_chunk
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.extraction import ExtractConfig
from stages.extract.frames import FrameTask
from stages.extract.jobs import invalid_of_chunk, open_job
from stages.extract.loading import Loader


@dataclass(frozen=True)
class ExtractRequest:
    """Everything that a process needs to extract chunks of one store; small and picklable.

    Args:
        location: absolute folder or URL of the store, which must exist.
        dataset: builds the dataset; its paths are absolute.
        detector: builds the detector; its paths are absolute.
        crop: how persons are cut out.
        config: how the store is filled.
        token: different for every call of an extraction: a process that lives longer must not take
            pictures or weights for unchanged that it has read for an earlier call.
    """

    location: str
    dataset: Callable[[], Dataset]
    detector: Callable[[], FrozenDetector]
    crop: CropConfig
    config: ExtractConfig
    token: str


@dataclass(frozen=True)
class ChunkResult:
    """What became of one chunk."""

    chunk: int
    num_rows: int
    written: bool
    """False where it was committed already."""
    invalid_by_reason: dict[str, int]


class ChunkExtractor:
    """A request with its dataset, detector and store open; usable from several threads."""

    def __init__(self, request: ExtractRequest) -> None:
        if not open_storage(request.location).exists():
            # Opening it for writing would make another store, on a disk that nobody looks at.
            raise CacheMissing(
                f"{request.location}: a worker does not see the store. Put data_root on a disk or "
                "an object store that all machines share, or let each machine extract a part: "
                "posecache extract --part i/n, then posecache cache merge"
            )
        self._request = request
        self._dataset = request.dataset()
        self._detector = request.detector()
        job = open_job(
            self._dataset, self._detector, request.crop, request.location, request.config
        )
        self._writer, self._plan, self._imported = job.writer, job.plan, job.imported
        self._ledger = Ledger(open_storage(request.location), job.writer.num_chunks)
        # The network keeps its taps in one place; loading and writing of another thread's chunk go
        # on beside it.
        self._network = threading.Lock()

    def extract_chunk(self, chunk: int) -> ChunkResult:
        """Extract, write and commit a chunk; does nothing if it is committed already."""
        rows = self._writer.chunk_rows(chunk)
        if self._ledger.has(chunk):
            return ChunkResult(chunk, len(rows), False, {})
        config = self._request.config
        task = FrameTask(self._dataset, self._request.crop, self._plan, rows)
        # Where pictures are computed, the workers' own processes fill the cores already.
        threads = 0 if self._dataset.cpu_bound else config.loader_workers
        with Loader(task, workers=threads, processes=False) as loader:
            frames = list(loader.map(rows))
        with self._network:
            content = run_chunk(frames, self._detector, self._plan, config, self._imported)
        written = self._writer.write_chunk(chunk, content)
        return ChunkResult(chunk, len(rows), written, dict(invalid_of_chunk(content.status)))


_kept: tuple[bytes, ChunkExtractor] | None = None  # of this process's latest request
_keeping = threading.Lock()


def extract_chunk(request: bytes, chunk: int) -> ChunkResult:
    """Extract a chunk of a pickled `ExtractRequest`; what it needs is built once per process.

    Raises:
        CacheMissing: this process does not see the store.
        CacheMismatch: the store was made by another detector, crop or dataset than this process
            finds, e.g. other pictures under the same path.
        CacheWriteError: the disk refuses.
        DatasetError: the dataset cannot be read here.
        DetectorError: the detector cannot be built here.
        FrameError: with `strict`, the first frame that cannot be used.
    """
    global _kept
    with _keeping:
        if _kept is None or _kept[0] != request:
            _kept = None  # frees the old network before the new one is loaded
            _kept = request, ChunkExtractor(pickle.loads(request))
        extractor = _kept[1]
    return extractor.extract_chunk(chunk)
