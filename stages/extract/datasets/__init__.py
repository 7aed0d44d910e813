"""Datasets by name; each adapter is imported only when it is built."""

from __future__ import annotations

import difflib
import importlib
from typing import Any

from stages.extract.datasets.base import Dataset, DatasetError, FrameError
from stages.extract.datasets.options import refuse_unfit_options

__all__ = ["DATASETS", "RENDERED", "Dataset", "DatasetError", "FrameError", "build_dataset"]

RENDERED = frozenset({"studio", "studio-detector", "synthetic", "synthetic-detector"})
"""Those of drawn or rendered people: what is trained on them is not for real ones."""

DATASETS: dict[str, str] = {
    "3dpw": "stages.extract.datasets.threedpw:ThreeDPW",
    "coco": "stages.extract.datasets.coco:Coco",
    "folder": "stages.extract.datasets.folder:Folder",
    "human36m": "stages.extract.datasets.human36m.mmpose:Human36m",
    "human36m-raw": "stages.extract.datasets.human36m.raw:Human36mRaw",
    "human36m-toolbox": "stages.extract.datasets.human36m.toolbox:Human36mToolbox",
    "human36m-videopose3d": "stages.extract.datasets.human36m.videopose3d:Human36mVideoPose3D",
    "mpi-inf-3dhp": "stages.extract.datasets.mpi_inf_3dhp.raw:MpiInf3dhp",
    "mpi-inf-3dhp-mmpose": "stages.extract.datasets.mpi_inf_3dhp.mmpose:MpiInf3dhpMmpose",
    "mpi-inf-3dhp-pstmo": "stages.extract.datasets.mpi_inf_3dhp.pstmo:MpiInf3dhpPstmo",
    "studio": "stages.extract.datasets.human36m.mmpose:Human36m",
    "studio-detector": "stages.extract.datasets.human36m.mmpose:Human36m",
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
    if name.startswith("studio"):
        options = {"name": name, **options}
    refuse_unfit_options(name, adapter, options)
    try:
        dataset: Dataset = adapter(**options)
    except TypeError as error:
        raise DatasetError(f"Dataset {name!r} does not take these options: {error}.") from error
    return dataset
