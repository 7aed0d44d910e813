"""What a comparison found, as plain values: all numbers are read from the files of its runs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache import CacheReader
from pipeline.ablation.plan import Job, Row
from pipeline.ablation.published_numbers import published_numbers
from pipeline.ablation.runs import Ending
from pipeline.ablation.tuning import Tuning
from pipeline.config import RunConfig
from pipeline.runs.directories import METRICS_FILE, read_json
from stages.lift import compare_metrics
from stages.lift.errors import NotComparable
from stages.lift.progress import mean_wait_fraction, train_seconds
from stages.lift.sources import box_source, feature_source

METRICS = ("mpjpe_mm", "p_mpjpe_mm", "n_mpjpe_mm", "mpjve_mm")
MEANS = {"actions": "action_wise", "frames": "frame_wise"}
"""What `comparison.mean_over` calls the means of `metrics.json`."""


def row_result(
    row: Row,
    ended: Sequence[tuple[Job, Ending]],
    *,
    config: RunConfig,
    tuning: Tuning | None,
) -> dict[str, Any]:
    """Return one row: where its inputs come from, its runs, and its errors by split and seed.

    `errors_mm[split][mean][metric]` has a number for each seed that has a result, in the order of
    `seeds_done`; None where a metric is not defined.
    """
    reader = CacheReader(row.store)
    runs = [_run(job, ending) for job, ending in ended]
    done = [run for run in runs if run["error"] is None]
    metrics = [_metrics(run) for run in done]
    data = row.config.train.data
    context = metrics[0]["context"] if metrics else None
    reads_maps = context in ("own", "shuffled")
    lifter = row.config.lifter
    published = published_numbers(config.comparison.ladder).get(row.name, ())
    return {
        "name": row.name,
        "lifter": lifter.name,
        "num_frames": lifter.num_frames,
        "context": context or "none",
        "keypoint_source": metrics[0]["keypoint_source"] if metrics else data.keypoint_source,
        "feature_source": _feature_source(reader, row.config) if reads_maps else "-",
        "box_source": box_source(reader),
        "store": row.store,
        "lr": ended[0][0].config.train.lr,
        "tuning": [dict(one) for one in tuning.tried] if tuning else [],
        "num_parameters": done[0]["num_parameters"] if done else None,
        "seeds_done": [run["seed"] for run in done],
        "errors_mm": _errors(metrics),
        "runs": runs,
        "notes": metrics[0].get("notes", []) if metrics else [],
        "published": [number.as_json() for number in published],
    }


def difference(
    a: str, b: str, splits: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the per-clip difference a - b of two rows on every split, with its interval.

    A difference with a row that lacks runs would be one of other seeds than asked for: its
    `missing` then says which row that is, and it has no numbers.
    """
    by_name = {row["name"]: row for row in rows}
    missing = [name for name in (a, b) if any(run["error"] for run in by_name[name]["runs"])]
    if missing:
        return {"a": a, "b": b, "missing": missing, "splits": {}}
    runs = {name: [_metrics(run) for run in by_name[name]["runs"]] for name in (a, b)}
    found = {}
    for split in splits:
        # compare_metrics says second minus first.
        comparison = compare_metrics(runs[b], runs[a], split)
        found[split] = {
            "mean_mm": comparison.difference_mm,
            "low_mm": comparison.low_mm,
            "high_mm": comparison.high_mm,
            "num_clips": comparison.num_clips,
        }
    return {"a": a, "b": b, "missing": [], "splits": found}


def evaluated_splits(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the test splits, on the very frames of which all runs must have been evaluated.

    Raises NotComparable naming the first run with others.
    """
    first: tuple[str, dict[str, dict[str, int]]] | None = None
    for row in rows:
        for run in row["runs"]:
            if run["error"]:
                continue
            frames = _frames(_metrics(run))
            if first is None:
                first = (run["run_dir"], frames)
            elif frames != first[1]:
                differing = [
                    split
                    for split in {*frames, *first[1]}
                    if frames.get(split) != first[1].get(split)
                ]
                raise NotComparable(
                    f"{run['run_dir']} (row {row['name']}) and {first[0]} were evaluated on "
                    f"different frames of {', '.join(sorted(differing))}, so they do not belong in "
                    "one table. Evaluate them on stores of the same frames, with the same splits."
                )
    return [] if first is None else [split for split in first[1] if split.startswith("test")]


def _frames(metrics: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    return {
        split: {clip: int(one["num_frames"]) for clip, one in found["per_clip"].items()}
        for split, found in metrics["splits"].items()
    }


def _run(job: Job, ending: Ending) -> dict[str, Any]:
    found: dict[str, Any] = {
        "seed": job.seed,
        "run_dir": ending.run_dir,
        "error": ending.error,
        "num_parameters": None,
        "best_epoch": None,
        "train_seconds": None,
        "wait_fraction": None,
        "samples_per_s": None,
    }
    if ending.error is not None:
        return found
    history = _history(Path(ending.run_dir))
    rates = [float(entry["samples_per_s"]) for entry in history]
    return {
        **found,
        "num_parameters": ending.num_parameters,
        "best_epoch": ending.best_epoch,
        "train_seconds": train_seconds(history),
        "wait_fraction": mean_wait_fraction(history),
        "samples_per_s": sum(rates) / len(rates),
    }


def _history(run_dir: Path) -> list[dict[str, Any]]:
    lines = (run_dir / "log.jsonl").read_text("utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _metrics(run: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = read_json(Path(run["run_dir"]) / METRICS_FILE)
    return found


def _errors(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not metrics:
        return {}
    return {
        split: {
            mean: {name: [one["splits"][split][mean][name] for one in metrics] for name in METRICS}
            for mean in MEANS.values()
        }
        for split in metrics[0]["splits"]
    }


def _feature_source(reader: CacheReader, config: RunConfig) -> str:
    # A store that is named itself need not be of the detector of the configuration.
    return config.detector.name if config.store is None else feature_source(reader)
