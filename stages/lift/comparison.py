"""Is one lifter better than another: a paired bootstrap over clips and seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from stages.lift.errors import NotComparable

_DRAWN_NUMBERS = 1_000_000  # kept in memory at a time


@dataclass(frozen=True)
class Comparison:
    """Frame-weighted mean errors of A and B and their difference B - A, with its interval."""

    mean_a_mm: float
    mean_b_mm: float
    difference_mm: float
    low_mm: float  # bounds of the interval of the difference
    high_mm: float
    confidence: float
    num_clips: int
    num_seeds_a: int
    num_seeds_b: int

    @property
    def is_resolved(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low_mm > 0.0 or self.high_mm < 0.0


def paired_bootstrap(
    errors_a_mm: NDArray[np.float64],  # [seeds of A, clips] mean error of a clip
    errors_b_mm: NDArray[np.float64],  # [seeds of B, clips]
    num_frames: NDArray[np.int64],  # [clips]
    *,
    num_draws: int = 10_000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Comparison:
    """Returns the difference of two lifters on the same clips, with a percentile interval.

    Every draw takes the clips with replacement, the same for A and B (their common difficulty
    cancels), and the seeds of each with replacement (they are independent runs). Frames of a clip
    resemble each other, so they are never drawn one by one. Clips are weighted by their frames.

    Raises `NotComparable` for shapes that do not pair or errors that are not finite.
    """
    _check(errors_a_mm, errors_b_mm, num_frames)
    rng = np.random.default_rng(seed)
    differences = np.concatenate(
        [
            _draw_differences(errors_a_mm, errors_b_mm, num_frames, num_draws=count, rng=rng)
            for count in _portions(num_draws, largest=max(1, _DRAWN_NUMBERS // len(num_frames)))
        ]
    )
    tail = (1.0 - confidence) / 2.0
    low, high = np.quantile(differences, [tail, 1.0 - tail])
    mean_a = float(np.average(errors_a_mm.mean(0), weights=num_frames))
    mean_b = float(np.average(errors_b_mm.mean(0), weights=num_frames))
    return Comparison(
        mean_a_mm=mean_a,
        mean_b_mm=mean_b,
        difference_mm=mean_b - mean_a,
        low_mm=float(low),
        high_mm=float(high),
        confidence=confidence,
        num_clips=len(num_frames),
        num_seeds_a=len(errors_a_mm),
        num_seeds_b=len(errors_b_mm),
    )


def _draw_differences(
    errors_a_mm: NDArray[np.float64],
    errors_b_mm: NDArray[np.float64],
    num_frames: NDArray[np.int64],
    *,
    num_draws: int,
    rng: np.random.Generator,
) -> NDArray[np.float64]:  # [draws]
    # How often each clip (each seed) is drawn, instead of which ones: the means become products.
    num_clips = len(num_frames)
    clips = rng.multinomial(num_clips, np.full(num_clips, 1 / num_clips), size=num_draws)
    weights = clips * num_frames  # [draws, clips]
    means = []
    for errors in (errors_a_mm, errors_b_mm):
        num_seeds = len(errors)
        seeds = rng.multinomial(num_seeds, np.full(num_seeds, 1 / num_seeds), size=num_draws)
        means.append((seeds / num_seeds @ errors * weights).sum(1) / weights.sum(1))
    differences: NDArray[np.float64] = means[1] - means[0]
    return differences


def _portions(total: int, *, largest: int) -> list[int]:
    """Parts of `total`, each at most `largest`."""
    return [min(largest, total - start) for start in range(0, total, largest)]


def compare_metrics(
    runs_a: Sequence[Mapping[str, Any]],
    runs_b: Sequence[Mapping[str, Any]],
    split: str,
    *,
    metric: str = "mpjpe_mm",
    num_draws: int = 10_000,
    seed: int = 0,
) -> Comparison:
    """Compares two lifters from the `metrics.json` contents of their runs, one run per seed.

    Raises `NotComparable` if a run was not evaluated on `split`, or on other clips or frames.
    """
    if not runs_a or not runs_b:
        raise NotComparable("A comparison needs at least one run on either side.")
    clips = _clips(runs_a[0], split)
    frames = {name: int(entry["num_frames"]) for name, entry in clips.items()}
    tables = []
    for runs in (runs_a, runs_b):
        table = []
        for metrics in runs:
            present = _clips(metrics, split)
            _require_same_frames(frames, present, split)
            table.append([float(present[name][metric]) for name in frames])
        tables.append(np.array(table, dtype=np.float64))
    counts = np.array(list(frames.values()), dtype=np.int64)
    return paired_bootstrap(tables[0], tables[1], counts, num_draws=num_draws, seed=seed)


def _clips(metrics: Mapping[str, Any], split: str) -> Mapping[str, Mapping[str, Any]]:
    splits = metrics["splits"]
    if split not in splits:
        raise NotComparable(
            f"A run was not evaluated on {split!r}, only on {', '.join(splits) or 'nothing'}."
            " Run 'posecache evaluate' on it."
        )
    clips: Mapping[str, Mapping[str, Any]] = splits[split]["per_clip"]
    return clips


def _require_same_frames(
    frames: Mapping[str, int], present: Mapping[str, Mapping[str, Any]], split: str
) -> None:
    found = {name: int(entry["num_frames"]) for name, entry in present.items()}
    if found == frames:
        return
    differing = sorted(n for n in {*frames, *found} if frames.get(n) != found.get(n))
    raise NotComparable(
        f"The runs were evaluated on different frames of {split!r}: {len(differing)} clips differ"
        f" (first: {', '.join(differing[:3])}). Evaluate both on the same store."
    )


def _check(
    errors_a: NDArray[np.float64], errors_b: NDArray[np.float64], num_frames: NDArray[np.int64]
) -> None:
    for name, errors in (("A", errors_a), ("B", errors_b)):
        if errors.ndim != 2 or errors.shape[1] != len(num_frames) or not errors.size:
            raise NotComparable(
                f"Errors of {name} have the shape {errors.shape}; expected [seeds,"
                f" {len(num_frames)} clips]."
            )
        if not np.isfinite(errors).all():
            raise NotComparable(f"Errors of {name} are not finite. Evaluate its runs again.")
    if (num_frames <= 0).any():
        raise NotComparable("A clip without frames cannot be compared.")
