"""Random draws of a degradation, the same for a row at every strength."""

from __future__ import annotations

import zlib

import numpy as np


def generator_of(seed: int, degradation: str, row: int) -> np.random.Generator:
    """Returns the generator of one row: equal for equal arguments, whatever was drawn before.

    The strength is no argument. A stronger degradation is the same accident made worse, so that a
    curve over strengths shows the strength and not other luck.
    """
    return np.random.default_rng([seed, zlib.crc32(degradation.encode()), row])
