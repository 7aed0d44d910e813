"""The command line in a process that notes what it reads, or misbehaves.

The environment says how: READS=FOLDER notes the rows that each rank reads maps of, a file per rank;
FAULTS="NAME@RANK ..." are functions of this file and the rank, or `all`, that they befall.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from cache import CacheReader
from pipeline.cli import main
from stages.lift import training
from stages.lift.feed.batch import Batch
from stages.lift.feed.passes import Batches
from stages.lift.runs.recording import Recording
from stages.lift.runs.state import TrainState

RANK = os.environ["RANK"]


def note_reads(folder: Path) -> None:
    read: Any = CacheReader.read
    seen: list[int] = []

    def noting(self: CacheReader, rows: Any, *args: Any, **options: Any) -> Any:
        seen.extend(np.asarray(rows).tolist())
        (folder / f"{RANK}.json").write_text(json.dumps(seen))
        return read(self, rows, *args, **options)

    CacheReader.read = noting  # type: ignore[method-assign]


def die(*_args: object) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def die_when_validating() -> None:
    validate = training.validate

    def once(state: TrainState, *args: Any) -> float:
        return die() if state.epoch == 2 else validate(state, *args)

    training.validate = once


def die_before_the_state_of_epoch_2() -> None:
    save = Recording.save_state

    def once(self: Recording, state: TrainState) -> None:
        if state.epoch == 2:
            die()
        save(self, state)

    Recording.save_state = once  # type: ignore[method-assign]


def sleep_when_validating() -> None:
    training.validate = lambda *_: time.sleep(120)  # type: ignore[assignment, func-returns-value]


def fail_when_validating() -> None:
    def full(*_args: object) -> NoReturn:
        raise OSError(28, "No space left on device")

    training.validate = full


def forget_weights() -> None:
    item: Callable[[Batches, int], Batch] = Batches.__getitem__
    Batches.__getitem__ = lambda self, index: replace(  # type: ignore[method-assign]
        item(self, index), loss_weight=1.0
    )


FAULTS = {
    function.__name__: function
    for function in (
        die_when_validating,
        die_before_the_state_of_epoch_2,
        sleep_when_validating,
        fail_when_validating,
        forget_weights,
    )
}


if __name__ == "__main__":
    if folder := os.environ.get("READS"):
        note_reads(Path(folder))
    for fault in os.environ.get("FAULTS", "").split():
        name, _, rank = fault.partition("@")
        if rank in {RANK, "all"}:
            FAULTS[name]()
    main()
