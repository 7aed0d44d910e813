"""Finished runs against the first of them: every metric, the sources, the settings that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cache.fingerprint import diff_identities
from pipeline.errors import PipelineError
from pipeline.runs.directories import CONFIG_FILE, METRICS_FILE, read_json
from stages.lift import compare_metrics

METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm", "pck", "auc")
MEANS = ("frame_wise", "action_wise")
_SOURCES = ("keypoint_source", "feature_source", "box_source", "context")
_NEEDED = ("lifter", "splits")
_UNKNOWN = "unknown"  # metrics of an earlier version do not tell all

CSV_COLUMNS = ("run", "split", "mean", "metric", "value", "base", "change", "low", "high")


def compare_runs(runs: Sequence[Path]) -> dict[str, Any]:
    """Return the metrics of all runs, and how each later one differs from the first.

    Of the frame-wise MPJPE a change has its 95 % interval, by bootstrap over clips; other changes
    have none. Raises NotComparable if two runs were evaluated on different frames of a split, and
    PipelineError for a run that is not finished.
    """
    metrics = [_metrics(run) for run in runs]
    configs = [read_json(run / CONFIG_FILE) for run in runs]
    described = [_described(run, found) for run, found in zip(runs, metrics, strict=True)]
    others = []
    for run, found, config in zip(runs[1:], metrics[1:], configs[1:], strict=True):
        splits = [split for split in metrics[0]["splits"] if split in found["splits"]]
        others.append(
            {
                "run": str(run),
                "splits": {split: _change(metrics[0], found, split) for split in splits},
                "settings": diff_identities(configs[0], config),
            }
        )
    return {
        "base": str(runs[0]),
        "runs": described,
        "others": others,
        "settings": differing_settings(configs),
    }


def differing_settings(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the dotted keys in which not all configurations agree, with the value of each.

    A key that a configuration does not have is None there.
    """
    flat = [dict(_flat(config)) for config in configs]
    keys = dict.fromkeys(key for one in flat for key in one)
    values = {key: [one.get(key) for one in flat] for key in keys}
    return {key: of_all for key, of_all in values.items() if any(v != of_all[0] for v in of_all)}


def csv_rows(result: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a row per run, split, mean and metric with `CSV_COLUMNS`; fractions are 0..1."""
    changes = {other["run"]: other["splits"] for other in result["others"]}
    for run in result["runs"]:
        for split, means in run["splits"].items():
            against = changes.get(run["run"], {}).get(split)
            for mean in MEANS:
                for metric in METRICS:
                    row = {"run": run["run"], "split": split, "mean": mean, "metric": metric}
                    row["value"] = means[mean][metric]
                    row |= against["metrics"][mean][metric] if against else {}
                    if against and (mean, metric) == ("frame_wise", "mpjpe_mm"):
                        row |= {"low": against["low_mm"], "high": against["high_mm"]}
                    yield {column: row.get(column) for column in CSV_COLUMNS}


def _metrics(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = read_json(run / METRICS_FILE)
    lacking = [key for key in _NEEDED if key not in found]
    if lacking:
        raise PipelineError(
            f"{run / METRICS_FILE}: has no {' and no '.join(lacking)}, so it is not what an "
            f"evaluation writes. Evaluate the run again: posecache evaluate {run}."
        )
    return found


def _described(run: Path, metrics: Mapping[str, Any]) -> dict[str, Any]:
    last = metrics.get("last")
    return {
        "run": str(run),
        "lifter": metrics["lifter"],
        **{name: metrics.get(name, _UNKNOWN) for name in _SOURCES},
        "seed": metrics["seed"],
        "epoch": metrics["epoch"],
        "num_parameters": metrics["num_parameters"],
        "notes": metrics.get("notes", []),
        "splits": {
            split: {mean: found[mean] for mean in MEANS}
            for split, found in metrics["splits"].items()
        },
        "last": last,
    }


def _change(base: Mapping[str, Any], run: Mapping[str, Any], split: str) -> dict[str, Any]:
    found = compare_metrics([base], [run], split)
    table = {}
    for mean in MEANS:
        before, after = base["splits"][split][mean], run["splits"][split][mean]
        table[mean] = {name: _pair(before.get(name), after.get(name)) for name in METRICS}
    return {
        "base_mm": found.mean_a_mm,
        "run_mm": found.mean_b_mm,
        "difference_mm": found.difference_mm,
        "low_mm": found.low_mm,
        "high_mm": found.high_mm,
        "resolved": found.is_resolved,
        "metrics": table,
    }


def _pair(base: float | None, value: float | None) -> dict[str, float | None]:
    change = None if base is None or value is None else value - base
    return {"base": base, "value": value, "change": change}


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
