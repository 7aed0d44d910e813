"""Ctrl-C and SIGTERM during work done in units: the first ends it after the unit, the next now."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType
from typing import Any, Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Within its context, a signal sets a flag that the work looks at between two units."""

    def __init__(self, unit: str) -> None:
        """Name the unit, for the message."""
        self._unit = unit
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def signal_number(self) -> int | None:
        """The signal that came, None if none did."""
        return self._received

    def requested(self) -> bool:
        """Whether the work should end."""
        return self._received is not None

    def __enter__(self) -> Self:
        # Elsewhere Python does not allow handlers, and the caller's own are left as they are.
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        return self

    def __exit__(self, *_error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._received is not None:
            os._exit(128 + number)
        self._received = number
        # Not print: the signal may have come in the middle of one.
        text = f"\nstopping: {self._unit} is finished first; once more to leave at once\n"
        os.write(2, text.encode())
