"""What levels and keypoint sources may be called."""

from __future__ import annotations

import re


def check_name(name: str) -> str:
    """Return the name of a level; raises ValueError if it is not of letters, digits, _ and -."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise ValueError(f"{name!r} is not a name of letters, digits, '_' and '-'")
    return name


def check_source(name: str) -> str:
    """Return the name of a keypoint source; raises ValueError for any other word."""
    if not re.fullmatch(r"detector|gt|imported:[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ValueError(f"{name!r} is not 'detector', 'gt' or 'imported:<name>'")
    return name
