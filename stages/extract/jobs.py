"""A store open for extraction: its layout, its identity, and what is still to do in it."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cache import CacheReader, CacheSpec, CacheWriter, FrameStatus, RowPlan
from cache.imported import PREFIX, ImportedKeypoints
from cache.ledger import Ledger
from cache.schema import View, choose_shard_rows, map_bytes
from cache.storage import Location, open_storage
from stages.extract.crops import CropConfig
from stages.extract.datasets.base import Dataset
from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.extraction import ChunkPart, ChunkPlan, ExtractConfig, ExtractSummary


@dataclass(frozen=True, eq=False)
class Job:
    """An open store and the chunks that this call has to fill."""

    writer: CacheWriter
    plan: RowPlan
    imported: Mapping[str, ImportedKeypoints]
    todo: tuple[int, ...]
    began: float
    """`time.perf_counter()` at the start."""

    @property
    def num_rows(self) -> int:
        """Rows of the chunks to do."""
        return sum(len(self.writer.chunk_rows(chunk)) for chunk in self.todo)

    def left(self) -> int:
        """Chunks of this call that nobody has committed yet, looked up now."""
        return len(set(self.todo).intersection(self.writer.missing_chunks()))

    def summary(self, chunks_done: int, invalid_by_reason: Mapping[str, int]) -> ExtractSummary:
        """Return what was done; the reasons serve while another process still writes."""
        spec, missing = self.writer.spec, len(self.writer.missing_chunks())
        return ExtractSummary(
            location=self.writer.location,
            rows=spec.num_rows,
            chunks_done=chunks_done,
            chunks_skipped=max(spec.num_chunks - missing - chunks_done, 0),
            chunks_missing=missing,
            invalid_by_reason=(
                dict(invalid_by_reason) if missing else _invalid_of_store(self.writer.location)
            ),
            seconds=time.perf_counter() - self.began,
        )


def open_job(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    location: Location,
    config: ExtractConfig,
    *,
    part: ChunkPart | None = None,
    redo: Collection[int] = (),
) -> Job:
    """Return the store, created if there is none, and which of its chunks are to do.

    Args:
        dataset: the frames.
        detector: the network.
        crop: how persons are cut out.
        location: of the store.
        config: how it is filled.
        part: only these chunks; None for all.
        redo: committed chunks that are thrown away first.

    Raises:
        DetectorError: the crop is not of the detector's input size.
        CacheMismatch: the store was made by another detector, crop or dataset.
        CacheWriteError: the disk refuses.
    """
    began = time.perf_counter()
    plan = dataset.plan()
    imported = dataset.imported_keypoints()
    writer = CacheWriter.open(
        location,
        spec=cache_spec(plan, imported, detector, crop, config),
        plan=plan,
        feature_identity=feature_identity(detector, crop, config),
        content_identity=dataset.content_identity(),
    )
    for chunk in sorted(redo):
        writer.discard_chunk(chunk)
    chosen = (part or ChunkPart(1, 1)).chunks(writer.num_chunks)
    todo = tuple(chunk for chunk in writer.missing_chunks() if chunk in chosen)
    return Job(writer, plan, imported, todo, began)


def plan_chunks(
    dataset: Dataset,
    detector: FrozenDetector,
    crop: CropConfig,
    location: Location,
    config: ExtractConfig | None = None,
    *,
    part: ChunkPart | None = None,
) -> ChunkPlan:
    """Return what an extraction would do, without writing anything."""
    imported = dataset.imported_keypoints()
    spec = cache_spec(dataset.plan(), imported, detector, crop, config or ExtractConfig())
    storage = open_storage(location)
    missing = (
        Ledger(storage, spec.num_chunks).missing() if storage.exists() else range(spec.num_chunks)
    )
    chosen = (part or ChunkPart(1, 1)).chunks(spec.num_chunks)
    row_bytes = spec.num_views * sum(map_bytes(level, spec.dtype) for level in spec.levels)
    return ChunkPlan(
        spec.num_rows,
        spec.num_chunks,
        tuple(chunk for chunk in missing if chunk in chosen),
        row_bytes,
        spec.num_chunks - len(missing),
    )


def cache_spec(
    plan: RowPlan,
    imported: Mapping[str, ImportedKeypoints],
    detector: FrozenDetector,
    crop: CropConfig,
    config: ExtractConfig,
) -> CacheSpec:
    """Return the layout of the store; raises DetectorError where crop and detector do not fit."""
    if crop.input_size != detector.input_size:
        raise DetectorError(
            f"The crop is {crop.input_size} (H, W), but the detector takes {detector.input_size}: "
            f"set crop.input_size to {list(detector.input_size)}."
        )
    sources = [] if detector.skeleton is None else ["detector"]
    sources += ["gt"] if plan.valid.any() else []
    sources += [PREFIX + name for name in sorted(imported)]
    if not sources:
        raise DetectorError(
            "The network finds no joints, and the dataset brings none: import 2D keypoints "
            "(dataset.keypoints), or use a pose detector."
        )
    views: tuple[View, ...] = ("plain", "flipped") if crop.flip else ("plain",)
    return CacheSpec(
        num_rows=len(plan),
        levels=detector.levels,
        skeleton=plan.skeleton if detector.skeleton is None else detector.skeleton.name,
        crop_size=crop.input_size,
        shard_rows=config.shard_rows or choose_shard_rows(detector.levels, config.dtype),
        views=views,
        dtype=config.dtype,
        keypoint_sources=tuple(sources),
        imported_skeletons={PREFIX + name: imported[name].skeleton for name in sorted(imported)},
    )


def feature_identity(
    detector: FrozenDetector, crop: CropConfig, config: ExtractConfig
) -> dict[str, Any]:
    """Return what decides the numbers of a store, given the pictures."""
    return {
        "detector": detector.identity(),
        "crop": crop.model_dump(mode="json"),
        "flip_rule": "pixels mirrored after cropping, x -> W-1-x" if crop.flip else None,
        "batch_size": config.batch_size,
        "threads": config.threads,
        "dtype": config.dtype,
    }


def invalid_of_chunk(status: np.ndarray[Any, np.dtype[np.uint8]]) -> Counter[str]:
    """Return how many rows are unusable, by lower-case `FrameStatus` name."""
    bad = status[status != FrameStatus.OK]
    return Counter(FrameStatus(int(code)).name.lower() for code in bad)


def _invalid_of_store(location: str) -> dict[str, int]:
    return dict(invalid_of_chunk(CacheReader(location).status()))
