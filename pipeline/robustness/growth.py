"""How much errors grow, and whose grow less: paired over clips."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.robustness.degradations import CLEAN
from pipeline.robustness.files import entries_by_variant
from stages.lift import paired_bootstrap


def growth(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per strength and run: its growth over undegraded frames, mm, and 95 % interval.

    Of runs that are not the baseline also the growth minus that of the baseline: below 0 the run is
    the more robust one. Clips count that have frames at both strengths.
    """
    entries = entries_by_variant(result)
    clean, baseline = entries.get(CLEAN), result["baseline"]
    draws = int(result["settings"]["draws"])
    rows: list[dict[str, Any]] = []
    if clean is None:
        return rows
    for variant, entry in entries.items():
        if variant == CLEAN or not entry["runs"]:
            continue
        counts = np.array([n for name, n in entry["clips"].items() if name in clean["clips"]])
        grown = {name: _grown_mm(clean, entry, name) for name in entry["runs"]}
        for name, by_clip in grown.items():
            own = paired_bootstrap(np.zeros_like(by_clip), by_clip, counts, num_draws=draws)
            row = {
                "degradation": variant.degradation,
                "strength": variant.strength,
                "run": name,
                "growth_mm": own.difference_mm,
                "low_mm": own.low_mm,
                "high_mm": own.high_mm,
            }
            if baseline is not None and name != baseline:
                more = paired_bootstrap(grown[baseline], by_clip, counts, num_draws=draws)
                row["minus_baseline_mm"] = more.difference_mm
                row["minus_baseline_low_mm"] = more.low_mm
                row["minus_baseline_high_mm"] = more.high_mm
            rows.append(row)
    return rows


def _grown_mm(
    clean: Mapping[str, Any], entry: Mapping[str, Any], run: str
) -> NDArray[np.float64]:  # [1, clips]
    before = dict(zip(clean["clips"], clean["runs"][run]["per_clip_mpjpe_mm"], strict=True))
    after = dict(zip(entry["clips"], entry["runs"][run]["per_clip_mpjpe_mm"], strict=True))
    return np.array([[after[name] - before[name] for name in after if name in before]])
