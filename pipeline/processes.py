"""Commands that torchrun has started in several processes."""

from __future__ import annotations

import os
import time

from pipeline.errors import USAGE, ConfigError

JOINT_COMMANDS = frozenset({"lift"})
"""What several processes can do as one."""

_GRACE_S = 5.0


def require_joint(command: str | None) -> None:
    """Refuse, in one line for all processes, a command that several would each do for itself.

    Raises:
        ConfigError: in the process of rank 0.
        SystemExit: in the others, when that one has had the time to speak; torchrun ends all as
            soon as one has ended.
    """
    size, rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("RANK")
    if command in JOINT_COMMANDS or rank is None or size in {"", "0", "1"}:
        return
    if rank != "0":
        time.sleep(_GRACE_S)
        raise SystemExit(USAGE)
    raise ConfigError(
        f"'posecache {command}' works in one process, but torchrun has started {size}"
        " (WORLD_SIZE). Run it without torchrun; only 'posecache lift' trains in several."
    )
