"""The dataset of a configuration: its adapter, and the keypoint files beside it."""

from __future__ import annotations

from pathlib import Path

from cache.storage import is_url
from pipeline.config import DatasetConfig, KeypointsConfig
from stages.extract.datasets import build_dataset
from stages.extract.datasets.base import Dataset
from stages.extract.imports import KeypointFile, KeypointStore, WithKeypoints


def dataset_of(config: DatasetConfig) -> Dataset:
    """Return the dataset; raises DatasetError."""
    dataset = build_dataset(config.name, **config.arguments())
    if not config.keypoints:
        return dataset
    return WithKeypoints(dataset, {name: _given(one) for name, one in config.keypoints.items()})


def absolute_dataset(config: DatasetConfig) -> DatasetConfig:
    """Return `config` with absolute paths: a worker of a cluster may run in another folder."""
    changes: dict[str, object] = {
        "keypoints": {
            name: given.model_copy(update=_absolute_places(given))
            for name, given in config.keypoints.items()
        }
    }
    if config.root is not None:
        changes["root"] = config.root.absolute()
    return config.model_copy(update=changes)


def _given(config: KeypointsConfig) -> KeypointFile | KeypointStore:
    if config.store is not None:
        return KeypointStore(config.store, config.source)
    assert config.file is not None
    assert config.skeleton is not None
    return KeypointFile(config.file, config.skeleton, config.missing)


def _absolute_places(config: KeypointsConfig) -> dict[str, object]:
    if config.file is not None:
        return {"file": config.file.absolute()}
    store = config.store or ""
    return {"store": store if is_url(store) else str(Path(store).absolute())}
