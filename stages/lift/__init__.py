"""Stage 2: train, evaluate and compare lifters on a store.

Poses are mm of the camera frame, relative to the root joint, wherever a name ends in `_mm`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.lift.comparison import Comparison, compare_metrics, paired_bootstrap
    from stages.lift.config import DataConfig, EvaluateConfig, TrainConfig
    from stages.lift.errors import (
        DoesNotFit,
        EmptySplit,
        ExportMismatch,
        LiftError,
        NotComparable,
        NotExportable,
        NotFiniteLoss,
        RunCorrupt,
        RunMismatch,
        RunMissing,
        RunWriteError,
        StoreMismatch,
    )
    from stages.lift.evaluation import Evaluation, evaluate
    from stages.lift.export.run import Exported, export_run
    from stages.lift.figures import plot_curves, plot_frames
    from stages.lift.progress import TrainProgress
    from stages.lift.run_evaluation import evaluate_run
    from stages.lift.runs.checkpoints import LoadedRun, load_run
    from stages.lift.training import TrainSummary, planned_groups, train

__all__ = [
    "Comparison",
    "DataConfig",
    "DoesNotFit",
    "EmptySplit",
    "EvaluateConfig",
    "Evaluation",
    "ExportMismatch",
    "Exported",
    "LiftError",
    "LoadedRun",
    "NotComparable",
    "NotExportable",
    "NotFiniteLoss",
    "RunCorrupt",
    "RunMismatch",
    "RunMissing",
    "RunWriteError",
    "StoreMismatch",
    "TrainConfig",
    "TrainProgress",
    "TrainSummary",
    "compare_metrics",
    "evaluate",
    "evaluate_run",
    "export_run",
    "load_run",
    "paired_bootstrap",
    "planned_groups",
    "plot_curves",
    "plot_frames",
    "train",
]

_HOMES = {
    "runs.checkpoints": ("LoadedRun", "load_run"),
    "comparison": ("Comparison", "compare_metrics", "paired_bootstrap"),
    "config": ("DataConfig", "EvaluateConfig", "TrainConfig"),
    "errors": (
        "DoesNotFit",
        "EmptySplit",
        "ExportMismatch",
        "LiftError",
        "NotComparable",
        "NotExportable",
        "NotFiniteLoss",
        "RunCorrupt",
        "RunMismatch",
        "RunMissing",
        "RunWriteError",
        "StoreMismatch",
    ),
    "evaluation": ("Evaluation", "evaluate"),
    "export.run": ("Exported", "export_run"),
    "figures": ("plot_curves", "plot_frames"),
    "progress": ("TrainProgress",),
    "run_evaluation": ("evaluate_run",),
    "training": ("TrainSummary", "planned_groups", "train"),
}
_HOME = {name: f"stages.lift.{module}" for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    # Names are imported on first use: `stages.lift.config` then needs no torch, and a command that
    # only reads a configuration does not wait for it.
    if name not in _HOME:
        raise AttributeError(f"module 'stages.lift' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME[name]), name)
    globals()[name] = value
    return value
