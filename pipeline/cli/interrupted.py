"""What Ctrl-C leaves behind, command by command."""

from __future__ import annotations

from collections.abc import Sequence

_GOES_ON = "The same command goes on from here."

_LEFT = {
    "demo": f"Finished chunks and epochs are kept. {_GOES_ON}",
    "ablate": f"Finished chunks, epochs and runs are kept. {_GOES_ON}",
    "lift": f"Finished chunks and epochs are kept. {_GOES_ON}",
    "extract": f"Finished chunks are kept. {_GOES_ON}",
    "find-people": f"Finished frames are kept. {_GOES_ON}",
    "train-detector": f"The state last saved is kept. {_GOES_ON}",
    "cache recode": f"Finished chunks are kept. {_GOES_ON}",
    "cache sample": f"Finished chunks are kept. {_GOES_ON}",
    "cache merge": f"Finished chunks are kept. {_GOES_ON}",
    "cache subset": f"Finished chunks are kept. {_GOES_ON}",
    "cache verify": "The store is as it was. The same command begins anew.",
    "cache diff": "The stores are as they were. The same command begins anew.",
    "evaluate": "No file of the run is half-written. The same command begins anew.",
    "bench": "Benchmarks that were finished are in their files. To go on, name the others.",
}


def after_interrupt(words: Sequence[str]) -> str:
    """Return what a stopped command has left and how to continue.

    Args:
        words: of the command, without `posecache`, e.g. `["cache", "recode"]`.
    """
    known = _LEFT.get(" ".join(words))
    return known or "The same command begins anew."
