"""The files of a run in training. Of several processes, only the one that leads touches them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.lift.processes.world import World
from stages.lift.runs.checkpoints import RunDescription, claim, write_weights
from stages.lift.runs.rundir import (
    CURVES_FILE,
    STATE_FILE,
    WEIGHTS_FILES,
    append_log,
    open_run,
    read_bytes,
    write_log,
)
from stages.lift.runs.state import TrainState


class Recording:
    """The run directory. `start` and `is_finished` concern all processes; the rest, one.

    The directory needs to be seen by the process that leads only: the others are told what the
    saved state is.
    """

    def __init__(self, run_dir: Path, world: World) -> None:
        self._run_dir, self._world = run_dir, world

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keeps other runs out of the directory; raises as `open_run` does."""
        if not self._world.leads:
            yield
            return
        with open_run(self._run_dir):
            yield

    def start(self, description: RunDescription, state: TrainState) -> bool:
        """Claims the directory, and gives its saved state to `state`; returns whether it had one.

        Raises `RunMismatch` if another run lives there, `RunCorrupt` for a broken state.
        """
        path = self._run_dir / STATE_FILE
        saved = None
        if self._world.leads and claim(self._run_dir, description) and path.exists():
            saved = read_bytes(path)
        saved = self._world.from_leader(saved)
        if saved is not None:
            state.restore(saved, path)
        return saved is not None

    def is_finished(self) -> bool:
        """Returns whether a finished run is there."""
        return self._world.from_leader((self._run_dir / CURVES_FILE).exists())

    def begin_log(self, history: list[dict[str, Any]]) -> None:
        """Writes the log of the epochs that are done."""
        if self._world.leads:
            write_log(self._run_dir, history)

    def add(self, entry: Mapping[str, Any]) -> None:
        """Adds an epoch to the log."""
        if self._world.leads:
            append_log(self._run_dir, entry)

    def save_state(self, state: TrainState) -> None:
        """Writes what a stopped run goes on from."""
        if self._world.leads:
            state.save(self._run_dir / STATE_FILE)

    def keep_best(self, state: TrainState) -> None:
        """Writes the weights as the best so far."""
        self._keep("best", state)

    def finish(self, state: TrainState) -> None:
        """Writes what only a finished run has; the picture last, as the mark of completeness."""
        self._keep("last", state)
        if self._world.leads:
            from stages.lift.figures import plot_curves  # matplotlib takes a second to import

            plot_curves({self._run_dir.name: state.history}, self._run_dir / CURVES_FILE)

    def _keep(self, which: str, state: TrainState) -> None:
        if self._world.leads:
            path = self._run_dir / WEIGHTS_FILES[which]
            write_weights(path, state.weights(), epoch=state.epoch)
