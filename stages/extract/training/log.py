"""Log records of a detector's training."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Progress = Callable[[dict[str, Any]], None]


class TrainingLog:
    """Log records, one JSON object per line of a file, also handed to a callback."""

    def __init__(self, path: Path, progress: Progress | None) -> None:
        self._path = path
        self._progress = progress
        self._losses: list[float] = []
        self._waited = 0.0
        self._since = time.monotonic()
        self._crops = 0

    def count(
        self,
        step: int,
        seconds_trained: float,
        loss: float,
        waited: float,
        num_crops: int,
        every: int,
    ) -> None:
        """Take in one step; every `every` steps, write a record of the mean loss and the rate."""
        self._losses.append(loss)
        self._waited += waited
        self._crops += num_crops
        if step % every:
            return
        seconds = time.monotonic() - self._since
        self.write(
            {
                "step": step,
                "seconds": round(seconds_trained, 1),
                "loss": round(float(np.mean(self._losses)), 4),
                "crops_per_s": round(self._crops / seconds, 1),
                "waiting": round(self._waited / seconds, 3),
            }
        )
        self._losses, self._waited, self._crops = [], 0.0, 0
        self._since = time.monotonic()

    def write(self, record: dict[str, Any]) -> None:
        """Append a record to the file and hand it to the callback."""
        with self._path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._progress is not None:
            self._progress(record)
