"""Weights and descriptions of runs on disk."""

from __future__ import annotations

import platform
import textwrap
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.torch
import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor, nn

from cache import CacheReader
from cache.fingerprint import diff_identities
from lifter import build_lifter
from lifter.config import LifterConfig
from stages.lift.config import Difference, TrainConfig
from stages.lift.errors import RunCorrupt, RunMismatch, RunMissing
from stages.lift.feed.point_caches import require_reads_points
from stages.lift.runs.identity import (
    TrainedOn,
    kind_of,
    require_same_content_of_maps,
    require_same_kind,
)
from stages.lift.runs.rundir import (
    METRICS_FILE,
    RUN_FILE,
    WEIGHTS_FILES,
    read_json,
    read_log,
    write_bytes,
    write_json,
)

RUN_FORMAT: Literal[1] = 1
_MAX_NAMED = 3


class RunDescription(BaseModel, extra="forbid", frozen=True):
    """What `run.json` holds: all that is needed to build the lifter again."""

    format: Literal[1] = RUN_FORMAT
    train: TrainConfig
    lifter: LifterConfig
    trained_on: TrainedOn
    num_parameters: int
    parameter_groups: dict[str, int]
    learning_rates: dict[str, float] = {}
    """Peak learning rate of every parameter group."""
    notes: tuple[str, ...] = ()
    """What must be said of the run's results."""
    dropped_rows: dict[str, dict[str, int]]
    processes: int = 1
    """Processes that trained it together; each draws its own drop path, and sums are rounded in
    another order, so that another number of them is another run."""
    sampling_backend: str | None = None
    """What sampled the maps at the start; the log says it of every epoch. None without maps."""
    versions: dict[str, str]


@dataclass(frozen=True)
class LoadedRun:
    """A trained lifter, in evaluation mode on the CPU, with its description."""

    run_dir: Path
    model: nn.Module
    description: RunDescription
    weights: Literal["best", "last"]
    epoch: int
    metrics: Mapping[str, Any] | None  # None before the run is evaluated
    history: tuple[Mapping[str, Any], ...]

    @property
    def config(self) -> TrainConfig:
        """How it was trained."""
        return self.description.train

    @property
    def level_names(self) -> tuple[str, ...]:
        """Maps that it reads, in its order."""
        return tuple(level.name for level in self.description.trained_on.levels)

    def require_fit(
        self,
        reader: CacheReader,
        *,
        keypoint_source: str | None = None,
        allow: Collection[Difference] = (),
    ) -> None:
        """Raises `StoreMismatch` if the store or the keypoints are not of the kind trained on.

        Raises `LiftError` for a point cache that the lifter cannot read.
        """
        trained_on = self.description.trained_on
        require_reads_points(self.description.lifter, reader)
        if self.config.data.context == "shuffled" and trained_on.levels:
            require_same_content_of_maps(trained_on, reader)
        source = keypoint_source or self.config.data.keypoint_source
        require_same_kind(trained_on, kind_of(reader, source), allow=allow)


def load_run(run_dir: Path | str, *, weights: Literal["best", "last"] = "best") -> LoadedRun:
    """Returns the lifter of a run directory.

    Raises `RunMissing` if the directory or the weights are not there, `RunCorrupt` if a file
    cannot be read or the weights are not of the described lifter.
    """
    run_dir = Path(run_dir)
    description = read_description(run_dir)
    model = build_model(description.lifter, description.trained_on)
    path = run_dir / WEIGHTS_FILES[weights]
    tensors, epoch = read_weights(path)
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise RunCorrupt(
            f"{path} does not fit the lifter of {RUN_FILE}: {_first_problem(error)}. Keep the files"
            " of one run together, or train it again."
        ) from error
    model.eval()
    metrics = run_dir / METRICS_FILE
    return LoadedRun(
        run_dir=run_dir,
        model=model,
        description=description,
        weights=weights,
        epoch=epoch,
        metrics=read_json(metrics) if metrics.exists() else None,
        history=tuple(read_log(run_dir)),
    )


def _first_problem(error: RuntimeError) -> str:
    """Returns the first of the lines in which torch lists all tensors that do not fit."""
    lines = [line.strip().rstrip(".") for line in str(error).splitlines()[1:]] or [str(error)]
    more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
    return textwrap.shorten(lines[0], 160, placeholder=" ...") + more


def build_model(config: LifterConfig, trained_on: TrainedOn) -> nn.Module:
    """Returns the lifter for these maps and joints, with random weights."""
    channels = tuple(level.channels for level in trained_on.levels)
    return build_lifter(config, level_channels=channels, num_joints=trained_on.num_joints)


def read_description(run_dir: Path) -> RunDescription:
    """Returns the content of `run.json`; raises `RunMissing` or `RunCorrupt`."""
    path = run_dir / RUN_FILE
    content = read_json(path)
    if content.get("format") != RUN_FORMAT:
        raise RunCorrupt(
            f"{path} has format {content.get('format')!r}, this version reads {RUN_FORMAT}."
            " Use the version that wrote it, or train again."
        )
    try:
        return RunDescription.model_validate(content)
    except ValidationError as error:
        wrong = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"
            for problem in error.errors(include_url=False)[:_MAX_NAMED]
        )
        raise RunCorrupt(
            f"{path} is not the description of a run ({wrong}). Use the version that wrote it, or"
            " train again."
        ) from error


def claim(run_dir: Path, description: RunDescription) -> bool:
    """Writes `run.json`, or checks the one there; returns whether the run had been started.

    Raises `RunMismatch`, listing every difference, if another run lives in the directory.
    """
    path = run_dir / RUN_FILE
    if not path.exists():
        write_json(path, description.model_dump(mode="json"))
        return False
    found = read_description(run_dir)
    differences = diff_identities(_decisive(found), _decisive(description))
    if differences:
        raise RunMismatch(
            f"{run_dir} holds another run (there / asked for):\n  "
            + "\n  ".join(differences)
            + "\nGive the new run another name, or remove the directory."
        )
    return True


def _decisive(description: RunDescription) -> dict[str, Any]:
    """What decides the weights of a run."""
    parts = description.model_dump(mode="json", include={"lifter", "trained_on", "processes"})
    return {"train": description.train.decisive(), **parts}


def write_weights(path: Path, weights: Mapping[str, Tensor], *, epoch: int) -> None:
    """Writes weights of one epoch atomically; equal weights give equal bytes."""
    write_bytes(path, safetensors.torch.save(dict(weights), metadata={"epoch": str(epoch)}))


def read_weights(path: Path) -> tuple[dict[str, Tensor], int]:
    """Returns the weights in a file and their epoch; raises `RunMissing` or `RunCorrupt`."""
    if not path.exists():
        raise RunMissing(f"{path} does not exist. Finish the run first: 'posecache lift'.")
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            epoch = (file.metadata() or {}).get("epoch", "")
            if not epoch.isdecimal():
                raise RunCorrupt(
                    f"{path} names no epoch, so it is not of a run. Copy the file of the run again,"
                    " or train the run again."
                )
            return {name: file.get_tensor(name) for name in file.keys()}, int(epoch)  # noqa: SIM118
    except (safetensors.SafetensorError, OSError) as error:
        raise RunCorrupt(
            f"{path} cannot be read ({error}). Copy it again, or train the run again."
        ) from error


def versions() -> dict[str, str]:
    """Returns the versions that float words depend on."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
    }
