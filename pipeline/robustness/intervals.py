"""Means over frames with intervals of the choice of clips, of many quantities at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
_DRAWN_NUMBERS = 1_000_000  # kept in memory at a time


def clip_intervals(
    by_clip: NDArray[np.float64],  # [k, clips] means of a clip's frames
    num_frames: NDArray[np.integer],  # [clips]
    *,
    num_draws: int,
    seed: int = 0,
) -> NDArray[np.float64]:  # [k, 3]
    """Return mean, low and high of every quantity: a percentile bootstrap over clips.

    All quantities get the same draws, so that those of differences are paired, and drawing, which
    takes nearly all the time, is done once. As `stages.lift.paired_bootstrap` of one seed.
    """
    rng = np.random.default_rng(seed)
    num_clips = len(num_frames)
    drawn = []
    for start in range(0, num_draws, step := max(1, _DRAWN_NUMBERS // num_clips)):
        count = min(step, num_draws - start)
        times = rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=count)
        weights = times * num_frames  # [draws, clips]
        drawn.append(weights @ by_clip.T / weights.sum(axis=1, keepdims=True))
    tail = (1.0 - CONFIDENCE) / 2.0
    low, high = np.quantile(np.concatenate(drawn), [tail, 1.0 - tail], axis=0)
    mean = np.average(by_clip, weights=num_frames, axis=1)
    return np.stack([mean, low, high], axis=1)
