"""Datasets by name; each adapter is imported only when it is built."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from stages.extract.datasets.base import Dataset, DatasetError, FrameError

__all__ = ["DATASETS", "Dataset", "DatasetError", "FrameError", "build_dataset"]

DATASETS: dict[str, str] = {
    "human36m": "stages.extract.datasets.human36m:Human36m",
    "studio": "stages.extract.datasets.human36m:Human36m",
    "studio-detector": "stages.extract.datasets.human36m:Human36m",
    "synthetic": "stages.extract.datasets.synthetic:Synthetic",
    "synthetic-detector": "stages.extract.datasets.synthetic:detector_people",
}


def build_dataset(name: str, **options: Any) -> Dataset:
    """Return the dataset called `name`; raises DatasetError for an unknown name or option."""
    target = DATASETS.get(name)
    if target is None:
        close = difflib.get_close_matches(name, DATASETS, n=1)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise DatasetError(f"Unknown dataset {name!r}.{hint} Known: {', '.join(sorted(DATASETS))}.")
    module, _, attribute = target.partition(":")
    adapter = getattr(importlib.import_module(module), attribute)
    if name != "human36m" and module.endswith("human36m"):
        options = {"name": name, **options}
    try:
        dataset: Dataset = adapter(**options)
    except TypeError as error:
        raise DatasetError(f"Dataset {name!r} does not take these options: {error}.") from error
    return dataset
