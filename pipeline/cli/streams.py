"""Standard streams that are closed, full, or that nobody reads any more."""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class Outlet(io.FileIO):
    """The standard output as a file that remembers why it could not be written.

    Whoever writes may have caught the error, and a buffer forgets what it could not pass on.
    """

    lost: OSError | None = None

    def write(self, data: Any) -> int | None:  # type: ignore[override]
        """Write what the system takes of `data`; raises its error."""
        try:
            return super().write(data)
        except OSError as error:
            self.lost = error
            raise

    def finish(self) -> OSError | None:
        """Pass on what is still buffered; return why something of the output was lost, if it was.

        What cannot leave then goes nowhere, so that the end of the process does not fail at it.
        """
        with suppress(OSError, ValueError):
            sys.stdout.flush()
        if self.lost is not None:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
        return self.lost


def open_streams() -> Outlet | None:
    """Make the standard streams fit to be written to; None where the output is no file.

    Those that are closed swallow everything, and names that are no text are shown escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell: `>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    before = sys.stdout
    if before is not sys.__stdout__ or not isinstance(before, io.TextIOWrapper):
        return None
    try:
        outlet = Outlet(before.fileno(), "w", closefd=False)
    except (OSError, ValueError):
        return None
    sys.stdout = io.TextIOWrapper(
        io.BufferedWriter(outlet),
        encoding=before.encoding,
        errors=before.errors,
        line_buffering=before.line_buffering,
        write_through=before.write_through,
    )
    return outlet
