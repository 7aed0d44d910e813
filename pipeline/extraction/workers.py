"""Who extracts the chunks of a store: this process, processes of this machine, or a cluster."""

from __future__ import annotations

import importlib.util
import os
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path

from pipeline.config import DetectorConfig, RunConfig
from pipeline.datasets import absolute_dataset, dataset_of
from pipeline.detectors import build_detector
from pipeline.errors import ConfigError
from pipeline.feature_sources import absolute_reference
from stages.extract.chunks import ExtractProgress, ExtractSummary, fill
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import FrozenDetector
from stages.extract.jobs import Job
from stages.extract.tasks import ExtractRequest

MIN_CHUNKS_EACH = 4
"""Chunks that make up for the start of a further process, which loads torch and mmpose anew."""


def num_workers(config: RunConfig, num_chunks: int) -> int:
    """Return how many processes of this machine extract; 1 is this one alone.

    Raises:
        ConfigError: several are asked for, or a cluster, and Dask is not installed.
    """
    extract = config.extract
    has_dask = importlib.util.find_spec("distributed") is not None
    if not has_dask and (extract.scheduler is not None or (extract.workers or 1) > 1):
        raise ConfigError(
            "extract.workers and extract.scheduler need Dask: pip install 'posecache[scale]', or "
            "extract in one process: --set extract.workers=1."
        )
    if extract.workers is not None:
        return max(min(extract.workers, num_chunks), 1)
    if not has_dask:
        return 1
    return max(min(_automatic(config.detector.device), num_chunks // MIN_CHUNKS_EACH), 1)


def fill_store(
    job: Job,
    config: RunConfig,
    dataset: Dataset,
    detector: FrozenDetector,
    *,
    progress: Callable[[ExtractProgress], None],
    stop: Callable[[], bool],
    say: Callable[[str], None] | None = None,
) -> ExtractSummary:
    """Do an open job by whom the configuration says; the bytes are the same whoever does it."""
    workers = num_workers(config, len(job.todo))
    if config.extract.scheduler is None and workers == 1:
        return fill(
            job, dataset, detector, config.crop, config.extract, progress=progress, stop=stop
        )
    # Dask takes a second to import, and need not be installed.
    from pipeline.extraction.scheduler import fill_with_dask

    return fill_with_dask(
        job,
        extract_request(config, job.writer.location),
        num_workers=workers,
        device=config.detector.device,
        progress=progress,
        stop=stop,
        say=say,
    )


def extract_request(config: RunConfig, location: str) -> ExtractRequest:
    """Return what a worker needs to extract chunks of the store at `location`."""
    return ExtractRequest(
        location=location,
        dataset=partial(dataset_of, absolute_dataset(config.dataset)),
        detector=partial(
            build_detector, _absolute_detector(config.detector), threads=config.extract.threads
        ),
        crop=config.crop,
        config=config.extract,
        token=uuid.uuid4().hex,
    )


def _automatic(device: str) -> int:
    if device == "cpu":
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
    if device == "cuda":
        import torch

        return torch.cuda.device_count()
    return 1  # one certain device


def _absolute_detector(config: DetectorConfig) -> DetectorConfig:
    changes: dict[str, object] = {}
    if config.folder is not None and not config.folder.startswith("shipped:"):
        changes["folder"] = str(Path(config.folder).absolute())
    if config.config is not None and not config.config.startswith("mmpose:"):
        changes["config"] = str(Path(config.config).absolute())
    if config.module is not None:
        changes["module"] = absolute_reference(config.module)
    if config.weights is not None:
        changes["weights"] = config.weights.absolute()
    return config.model_copy(update=changes)
