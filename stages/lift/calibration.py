"""Whether predicted scales say how far off joints are."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifter.uncertainty import LOG_NORMALISER, MEAN_ERROR_PER_SCALE

Floats = NDArray[np.float64]

NUM_BINS = 10
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


def calibration(error_mm: Floats, scale_mm: Floats) -> dict[str, Any]:
    """Returns how errors [n, J] and scales b [n, J] of isotropic Laplace errors agree.

    Plain containers, errors in mm; `lifter.uncertainty` has the density.

    - `nll`: mean negative log-likelihood, natural logarithm of a density per cubic mm.
    - `bins`: joints by what is predicted, in tenths of equal number: means of the predicted error
      (3 b) and of the observed one, and the number of joints.
    - `expected_calibration_error_mm`: mean distance of these two, by number of joints.
    - `coverage`: share of joints within the radius that should hold the share `level`.
    - `spearman`: rank correlation of predicted scale and error over joints, and
      `spearman_of_frames` of their means over frames; None where either does not vary.
    - `best_factor`: what the scales would have to be multiplied by for the best likelihood; above
      1 the lifter is too sure of itself.
    """
    ratio = error_mm / scale_mm
    nll = ratio + 3.0 * np.log(scale_mm) + LOG_NORMALISER
    predicted_mm = MEAN_ERROR_PER_SCALE * scale_mm
    parts = np.array_split(np.argsort(predicted_mm, axis=None, kind="stable"), NUM_BINS)
    bins = [
        {
            "predicted_mm": float(predicted_mm.ravel()[part].mean()),
            "observed_mm": float(error_mm.ravel()[part].mean()),
            "count": len(part),
        }
        for part in parts
        if len(part)
    ]
    share = share_within(ratio)
    return {
        "nll": float(nll.mean()),
        "bins": bins,
        "expected_calibration_error_mm": sum(
            each["count"] * abs(each["predicted_mm"] - each["observed_mm"]) for each in bins
        )
        / error_mm.size,
        "coverage": [
            {"level": level, "observed": float((share <= level).mean())} for level in LEVELS
        ],
        "spearman": spearman(scale_mm.ravel(), error_mm.ravel()),
        "spearman_of_frames": spearman(scale_mm.mean(axis=1), error_mm.mean(axis=1)),
        "best_factor": float(ratio.mean()) / MEAN_ERROR_PER_SCALE,
    }


def share_within(ratio: Floats) -> Floats:
    """Returns the share of errors below `ratio` scales: the Gamma distribution of shape 3."""
    share: Floats = 1.0 - np.exp(-ratio) * (1.0 + ratio + ratio**2 / 2.0)
    return share


def spearman(one: Floats, other: Floats) -> float | None:
    """Returns the rank correlation of two lists [n], ties at their mean rank; None without any."""
    ranks = [_ranks(values) for values in (one, other)]
    off = [rank - rank.mean() for rank in ranks]
    spread = math.prod(float((each**2).sum()) for each in off)
    return float((off[0] * off[1]).sum()) / math.sqrt(spread) if spread > 0 else None


def _ranks(values: Floats) -> Floats:
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: Floats = (last - (counts - 1) / 2.0)[inverse]
    return ranks
