"""A sampling process that kills itself: `python killed_sampling.py STORE TARGET CHUNKS`."""

from __future__ import annotations

import os
import signal
import sys

from stages.lift.points import sample_points


def main(store: str, target: str, chunks: int) -> None:
    def progress(done: int, of: int) -> None:
        assert of > chunks
        if done == chunks:
            os.kill(os.getpid(), signal.SIGKILL)

    sample_points(store, target, workers=1, progress=progress)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
