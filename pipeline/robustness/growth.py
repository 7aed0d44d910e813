"""How much errors grow, and whose grow less: paired over clips."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.robustness.degradations import CLEAN
from pipeline.robustness.files import entries_by_variant
from pipeline.robustness.intervals import clip_intervals


def growth(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return a row per strength and run: its growth over undegraded frames, mm, and 95 % interval.

    Of runs that are not the baseline also the growth minus that of the baseline: below 0 the run is
    the more robust one. Frames count that both strengths have.
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
        counts = np.array(list(entry["clips"].values()))
        grown = {name: _grown_mm(clean, entry, name) for name in entry["runs"]}
        others = [name for name in grown if baseline is not None and name != baseline]
        more = [grown[name] - grown[str(baseline)] for name in others]
        found = clip_intervals(np.stack([*grown.values(), *more]), counts, num_draws=draws).tolist()
        held = dict(zip(others, found[len(grown) :], strict=True))
        for name, (mean, low, high) in zip(grown, found, strict=False):
            row = {
                "degradation": variant.degradation,
                "strength": variant.strength,
                "run": name,
                "growth_mm": mean,
                "low_mm": low,
                "high_mm": high,
            }
            if name in held:
                keys = ("difference_mm", "low_mm", "high_mm")
                row["minus_baseline"] = dict(zip(keys, held[name], strict=True))
            rows.append(row)
    return rows


def _grown_mm(
    clean: Mapping[str, Any], entry: Mapping[str, Any], run: str
) -> NDArray[np.float64]:  # [clips]
    rows = chain.from_iterable(clean["rows"].values())
    before = dict(zip(rows, clean["runs"][run]["per_frame_mpjpe_mm"], strict=True))
    for row in entry["lost_rows"]:
        del before[row]
    after = zip(entry["clips"], entry["runs"][run]["per_clip_mpjpe_mm"], strict=True)
    return np.array(
        [
            error_mm - np.mean([before[row] for row in clean["rows"][clip] if row in before])
            for clip, error_mm in after
        ]
    )
