"""What an extraction is asked for, and whether a store is that already."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from cache import CacheIncomplete, CacheReader
from cache.fingerprint import diff_identities
from cache.storage import open_storage
from pipeline.config import RunConfig
from pipeline.detectors import detector_files
from pipeline.notes import read_note
from stages.extract.datasets import DatasetError, build_dataset
from stages.extract.detectors.base import DetectorError

_NOT_IN_RESULT = ("workers", "scheduler", "mixed_machines", "loader_workers", "strict")
"""Settings of the extraction that change no number of the store."""


def request_of(config: RunConfig) -> dict[str, Any]:
    """Return what was asked for, with the bytes of the detector's files instead of their paths.

    It is kept beside the store, so that a second `extract` knows without loading mmpose that
    there is nothing to do, and stage 2 that this is the store it wants.
    """
    network, weights = detector_files(config.detector)
    tree = config.dump()
    detector = {key: tree["detector"][key] for key in ("taps", "skeleton", "precision", "device")}
    return {
        "dataset": {key: tree["dataset"][key] for key in ("name", "options")},
        "detector": {**detector, "config": _sha256(network), "weights": _sha256(weights)},
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
        dataset = build_dataset(config.dataset.name, **config.dataset.arguments())
    except DatasetError:
        return trust_complete
    return not diff_identities(reader.content_identity, dataset.content_identity())


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
