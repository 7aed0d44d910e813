"""What an extraction is asked for, and whether a store is that already."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cache import CacheIncomplete, CacheReader
from cache.fingerprint import diff_identities
from cache.storage import open_storage
from pipeline.config import DetectorConfig, RunConfig
from pipeline.datasets import dataset_of
from pipeline.detectors import detector_files
from pipeline.feature_sources import feature_source_files, is_feature_source
from pipeline.stores.notes import read_note
from stages.extract.datasets import DatasetError
from stages.extract.detectors.base import DetectorError

_NOT_IN_RESULT = ("workers", "scheduler", "mixed_machines", "loader_workers", "strict")
"""Settings of the extraction that change no number of the store."""


def request_of(config: RunConfig) -> dict[str, Any]:
    """Return what was asked for, with the bytes of the detector's files instead of their paths.

    It is kept beside the store, so that a second `extract` knows without loading mmpose that
    there is nothing to do, and stage 2 that this is the store it wants.
    """
    tree = config.dump()
    files = _detector_files(config.detector)
    detector = {key: tree["detector"][key] for key in ("taps", "skeleton", "precision", "device")}
    if config.detector.fold_norms:  # else as in requests from before there was the choice
        detector["fold_norms"] = True
    return {
        "dataset": {key: tree["dataset"][key] for key in ("name", "options")},
        "detector": {**detector, **files},
        "crop": tree["crop"],
        "extract": {
            key: value for key, value in tree["extract"].items() if key not in _NOT_IN_RESULT
        },
    }


def is_up_to_date(config: RunConfig, store: str, *, trust_complete: bool) -> bool:
    """Return whether a store is complete and what `config` asks for.

    Args:
        config: dataset, detector, crop and how to extract.
        store: folder or URL.
        trust_complete: what to say of a complete store where nothing tells what made it.
    """
    if not open_storage(store).exists():
        return False
    try:
        reader = CacheReader(store)
    except CacheIncomplete:
        return False
    request = read_note(store, "request")
    if request is None:
        return trust_complete
    try:
        asked = request_of(config)
    except DetectorError:
        # Stage 2 runs where the detector's files are not; the store says what made it.
        return trust_complete
    if diff_identities(request, asked):
        return False
    try:
        dataset = dataset_of(config.dataset)
    except DatasetError:
        return trust_complete
    return not diff_identities(reader.content_identity, dataset.content_identity())


def _detector_files(config: DetectorConfig) -> dict[str, Any]:
    if is_feature_source(config):
        return feature_source_files(config)
    network, weights = detector_files(config)
    # Left out where there are none, as beside stores from before there was the choice.
    changes = {"config_changes": config.config_changes} if config.config_changes else {}
    if weights is None:
        return {"config": _sha256(network), "random_seed": config.random_seed, **changes}
    return {"config": _sha256(network), "weights": _sha256(weights), **changes}


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
