"""The configuration that a finished run was made with, and what `--set` changes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.errors import PipelineError
from pipeline.runs.directories import CONFIG_FILE, read_json
from pipeline.settings import assign, validate

Changes = Sequence[tuple[str, Any]]
"""Dotted keys with their new values, as `parse_set` returns them."""


def runs_root_of(changes: Changes) -> Path:
    """Return the folder in which runs are looked for by name."""
    named = [value for key, value in changes if key == "runs_root"]
    return Path(str(named[-1]) if named else "runs")


def config_of_run(
    run_dir: Path, changes: Changes = (), *, evaluated: Mapping[str, Any] | None = None
) -> RunConfig:
    """Return the configuration of a finished run.

    Args:
        run_dir: its directory.
        changes: what is different now.
        evaluated: settings of its latest evaluation, which may have been another one.

    Raises:
        ConfigError: a key or value is wrong.
        PipelineError: the run was not finished.
    """
    file = run_dir / CONFIG_FILE
    if not file.is_file():
        raise PipelineError(
            f"{run_dir}: has no {CONFIG_FILE}, so it was not finished. "
            "Repeat the command that began it; it goes on from the last epoch."
        )
    tree = read_json(file)
    if evaluated is not None:
        tree = {**tree, "evaluate": {**tree.get("evaluate", {}), **evaluated}}
    for key, value in changes:
        tree = assign(tree, key, value)
    return validate(RunConfig, tree)
