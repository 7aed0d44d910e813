"""What a training run reports while it works."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch comes with it, and a list of runs needs none
    from stages.lift.feed.residency import Placement


@dataclass(frozen=True)
class TrainProgress:
    """One report, at an epoch's end or in the middle of one."""

    epoch: int
    num_epochs: int
    fraction: float  # of the whole run
    loss_mm: float
    validation_mpjpe_mm: float | None  # of the last epoch that was validated; None: none was yet
    is_best: bool  # whether no epoch before that one was as good
    lr: float
    samples_per_s: float
    wait_fraction: float  # of the training time spent waiting for batches
    eta_s: float
    epoch_ended: bool
    maps: str  # where the maps are, how large and why
    loaded: float | None  # fraction of them read into memory; None once training has begun

    def line(self) -> str:
        """Returns what is known beside share and time left, in columns that keep their places."""
        if self.loaded is not None:
            return f"{self.maps}  {100 * self.loaded:5.1f} % read"
        validation = "-" if self.validation_mpjpe_mm is None else f"{self.validation_mpjpe_mm:.1f}"
        return (
            f"epoch {self.epoch:>{len(str(self.num_epochs))}}/{self.num_epochs}"
            f"  loss {self.loss_mm:6.1f} mm"
            f"  val {validation:>6}{'*' if self.is_best else ' '} mm"
            f"  {self.samples_per_s:6.0f} samples/s"
            f"  wait {100 * self.wait_fraction:4.1f} %"
        )


Report = Callable[[TrainProgress], None]


def loading(placement: Placement, loaded: float, *, epoch: int, num_epochs: int) -> TrainProgress:
    """Returns the report of maps on their way into memory, after `epoch` finished epochs."""
    return TrainProgress(
        epoch=epoch,
        num_epochs=num_epochs,
        fraction=epoch / num_epochs,
        loss_mm=math.nan,
        validation_mpjpe_mm=None,
        is_best=False,
        lr=math.nan,
        samples_per_s=0.0,
        wait_fraction=0.0,
        eta_s=math.nan,
        epoch_ended=False,
        maps=placement.line(),
        loaded=loaded,
    )


def mean_wait_fraction(history: Sequence[Mapping[str, Any]]) -> float:
    """Share of the time of all training steps in the log that was spent waiting for batches."""
    # An epoch has always equally many samples; its rate is rounded to tenths.
    times = [1.0 / max(entry["samples_per_s"], 0.1) for entry in history]
    waits = [t * entry["wait_fraction"] for t, entry in zip(times, history, strict=True)]
    return sum(waits) / sum(times) if times else 0.0


def train_seconds(history: Sequence[Mapping[str, Any]]) -> float:
    """Returns the seconds of training and validation in a log.

    The clock of a run that was stopped and went on started anew: its parts are added up.
    """
    total = before = 0.0
    for entry in history:
        now = float(entry["elapsed_s"])
        total += now - before if now >= before else now
        before = now
    return total


class Clock:
    """Time of this process on the run, and the time left at its pace."""

    def __init__(self, *, steps_done: int, num_steps: int) -> None:
        self._start_s = time.perf_counter()
        self._first_step = steps_done
        self._num_steps = num_steps

    def elapsed_s(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self._start_s

    def eta_s(self, step: int) -> float:
        """Seconds left after `step` steps of the run, validations included."""
        steps_here = step - self._first_step
        if steps_here <= 0:
            return 0.0
        return self.elapsed_s() / steps_here * (self._num_steps - step)
