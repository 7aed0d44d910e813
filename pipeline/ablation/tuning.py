"""The learning rate of every row: the best of a list on validation, the same list for all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.ablation.plan import Row, plan_tuning
from pipeline.ablation.runs import Update, run_jobs
from pipeline.config import RunConfig
from pipeline.errors import ConfigError


@dataclass(frozen=True)
class Tuning:
    """What was tried for a row."""

    tried: tuple[Mapping[str, Any], ...]
    """By learning rate: `lr`, `validation_mpjpe_mm` (None: failed), `run_dir`, `error`."""

    @property
    def lr(self) -> float:
        """The rate with the lowest error on validation; the first if all runs failed."""
        done = [one for one in self.tried if one["validation_mpjpe_mm"] is not None]
        if not done:
            return float(self.tried[0]["lr"])
        return float(min(done, key=lambda one: float(one["validation_mpjpe_mm"]))["lr"])


def tune(
    config: RunConfig, rows: Sequence[Row], *, workers: int, update: Update
) -> dict[str, Tuning]:
    """Train every row with each of `comparison.lrs`, with the first seed only.

    Returns nothing where there are none. The runs are those of the comparison with that rate, so
    the chosen ones are not trained again.

    Raises ConfigError where training consults no validation split, or a test split.
    """
    planned = plan_tuning(config, rows)
    if planned and config.train.select != "best":
        raise ConfigError(
            "comparison.lrs chooses on validation, but train.select is last: set train.select=best "
            "and train.data.validation_split, or leave comparison.lrs empty."
        )
    split = config.train.data.validation_split
    if planned and split.startswith("test"):
        raise ConfigError(
            f"comparison.lrs chooses on validation, but train.data.validation_split is {split!r}: "
            "every row would take the rate that suits the test set. Set it to another, or leave "
            "comparison.lrs empty."
        )
    if not planned:
        return {}
    tried: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    endings = run_jobs(planned, workers=workers, update=update)
    for job, ending in zip(planned, endings, strict=True):
        error_mm = None if ending.error else best_validation_mm(Path(ending.run_dir))
        tried[job.row].append(
            {
                "lr": job.lr,
                "validation_mpjpe_mm": error_mm,
                "run_dir": ending.run_dir,
                "error": ending.error,
            }
        )
    return {name: Tuning(tuple(entries)) for name, entries in tried.items()}


def best_validation_mm(run_dir: Path) -> float | None:
    """Return the lowest validation MPJPE of a run's log."""
    lines = (run_dir / "log.jsonl").read_text("utf-8").splitlines()
    errors = [json.loads(line)["validation_mpjpe_mm"] for line in lines]
    return min((float(error) for error in errors if error is not None), default=None)
