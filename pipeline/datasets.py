"""The dataset of a configuration: its adapter, and the keypoint files beside it."""

from __future__ import annotations

from pipeline.config import DatasetConfig
from stages.extract.datasets import build_dataset
from stages.extract.datasets.base import Dataset
from stages.extract.imports import KeypointFile, WithKeypoints


def dataset_of(config: DatasetConfig) -> Dataset:
    """Return the dataset; raises DatasetError."""
    dataset = build_dataset(config.name, **config.arguments())
    if not config.keypoints:
        return dataset
    files = {
        name: KeypointFile(given.file, given.skeleton, given.missing)
        for name, given in config.keypoints.items()
    }
    return WithKeypoints(dataset, files)


def absolute_dataset(config: DatasetConfig) -> DatasetConfig:
    """Return `config` with absolute paths: a worker of a cluster may run in another folder."""
    changes: dict[str, object] = {
        "keypoints": {
            name: given.model_copy(update={"file": given.file.absolute()})
            for name, given in config.keypoints.items()
        }
    }
    if config.root is not None:
        changes["root"] = config.root.absolute()
    return config.model_copy(update=changes)
