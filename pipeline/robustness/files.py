"""A sweep on disk: results of equal settings are kept, others are not written over."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.fingerprint import diff_identities
from pipeline.errors import ConfigError
from pipeline.robustness.degradations import Variant
from pipeline.runs.directories import read_json, write_json, write_text

RESULT_FILE, TABLE_FILE = "robustness.json", "robustness.csv"

Result = dict[str, Any]


def read_result(folder: Path, settings: Mapping[str, Any]) -> Result | None:
    """Return the result of an earlier sweep with equal settings; None where there is none.

    Raises:
        ConfigError: the folder holds the result of other settings.
        PipelineError: its file cannot be read.
    """
    path = folder / RESULT_FILE
    if not path.is_file():
        return None
    result: Result = read_json(path)
    differences = diff_identities(result.get("settings", {}), settings)
    if differences:
        raise ConfigError(
            f"{path}: is of other settings ({differences[0]}). Give another folder: --out DIR, or"
            " delete that one."
        )
    return result


def write_result(folder: Path, result: Result) -> None:
    """Write the result, whole or not at all, and its table beside it; raises UnwritableTarget."""
    write_json(folder / RESULT_FILE, result)
    lines = io.StringIO()
    rows = list(table_rows(result))
    writer = csv.DictWriter(lines, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(folder / TABLE_FILE, lines.getvalue())


def entries_by_variant(result: Mapping[str, Any]) -> dict[Variant, Mapping[str, Any]]:
    """Return the results by what they are of."""
    return {
        Variant(entry["degradation"], float(entry["strength"])): entry
        for entry in result["results"]
    }


def with_entries(
    result: Result, entries: Sequence[Mapping[str, Any]], order: Sequence[Variant]
) -> Result:
    """Return the result with more entries: first `order`, then what other strengths it has."""
    found = entries_by_variant({"results": [*result["results"], *entries]})
    ordered = [*(v for v in order if v in found), *(v for v in found if v not in order)]
    return {**result, "results": [found[variant] for variant in ordered]}


def table_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row per strength and run."""
    for entry in result["results"]:
        error_2d = entry["error_2d_px"] or {}
        for name, errors in entry["runs"].items():
            difference = entry["differences"].get(name, {})
            yield {
                "degradation": entry["degradation"],
                "strength": entry["strength"],
                "run": name,
                "mpjpe_mm": errors["mpjpe_mm"],
                "mpjpe_low_mm": errors["low_mm"],
                "mpjpe_high_mm": errors["high_mm"],
                "p_mpjpe_mm": errors["p_mpjpe_mm"],
                "minus_baseline_mm": difference.get("difference_mm"),
                "minus_baseline_low_mm": difference.get("low_mm"),
                "minus_baseline_high_mm": difference.get("high_mm"),
                "error_2d_px": error_2d.get("mean"),
                "median_error_2d_px": error_2d.get("median"),
                "num_frames": entry["num_frames"],
                "num_lost": sum(entry["lost"].values()),
            }
