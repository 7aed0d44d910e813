"""Lifters side by side: shared stores, several seeds, equal settings, paired differences."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cache import CacheReader
from cache.fingerprint import fingerprint
from pipeline.ablation.files import write_tables
from pipeline.ablation.plan import Job, Row, differences_of, plan_jobs, plan_rows
from pipeline.ablation.plot import PLOT_FILE, plot_comparison
from pipeline.ablation.published_numbers import published_note
from pipeline.ablation.result import difference, evaluated_splits, row_result
from pipeline.ablation.runs import Ending, Update, run_jobs
from pipeline.ablation.savings import savings
from pipeline.ablation.tuning import Tuning, tune
from pipeline.config import RunConfig
from pipeline.runs.directories import provenance, write_json
from pipeline.stores.facts import keypoint_errors

RESULT_FILE = "comparison.json"


def num_workers(config: RunConfig) -> int:
    """Return how many runs are trained at a time."""
    return config.comparison.workers or os.cpu_count() or 1


def compare_rows(
    config: RunConfig,
    *,
    update: Update,
    seconds: Mapping[str, float],
    rates: Mapping[str, float],
) -> dict[str, Any]:
    """Run the comparison of `config`, whose stores are complete, and return its result.

    The result is also written, as json, csv and a picture, in a folder of its own below
    `runs_root`.

    Raises:
        ConfigError: rows, lifters or settings that are not there.
        NotComparable: runs were evaluated on different frames.
    """
    rows = plan_rows(config, level_names(plan_rows(config)))
    workers = num_workers(config)
    start = time.perf_counter()
    tuned = tune(config, rows, workers=workers, update=update)
    jobs = plan_jobs(config, rows, {name: tuning.lr for name, tuning in tuned.items()})
    endings = run_jobs(jobs, workers=workers, update=update)
    seconds = {**seconds, "train and evaluate": time.perf_counter() - start}
    result = _result(config, rows, list(zip(jobs, endings, strict=True)), tuned)
    result |= {"seconds": seconds, "rates": {**rates, **_training_rates(result["rows"])}}
    identity = {
        "rows": [[run["run_dir"] for run in row["runs"]] for row in result["rows"]],
        "evaluate": config.evaluate.model_dump(mode="json"),
    }
    words = ["comparison", config.comparison.ladder, result["store"].removesuffix(".zarr")]
    name = "-".join([*filter(None, words), fingerprint(identity)[:8]])
    folder = config.runs_root / name
    write_json(folder / "config.json", config.dump())
    write_json(folder / "provenance.json", provenance(seconds))
    result["files"] = {**write_tables(folder, result), RESULT_FILE: str(folder / RESULT_FILE)}
    if result["splits"]:
        plot_comparison(result, folder / PLOT_FILE)
        result["files"][PLOT_FILE] = str(folder / PLOT_FILE)
    write_result(result)
    return result


def write_result(result: Mapping[str, Any]) -> None:
    """Write the json file of a result; raises UnwritableTarget."""
    write_json(Path(result["files"][RESULT_FILE]), result)


def level_names(rows: Sequence[Row]) -> dict[str, tuple[str, ...]]:
    """Return the names of the levels of every store of the rows, by its location."""
    return {store: tuple(CacheReader(store).levels) for store in {row.store for row in rows}}


def _result(
    config: RunConfig,
    rows: Sequence[Row],
    ended: Sequence[tuple[Job, Ending]],
    tuned: Mapping[str, Tuning],
) -> dict[str, Any]:
    comparison = config.comparison
    found = [
        row_result(
            row,
            [(job, ending) for job, ending in ended if job.row == row.name],
            config=config,
            tuning=tuned.get(row.name),
        )
        for row in rows
    ]
    splits = evaluated_splits(found)
    base = CacheReader(rows[0].store)
    of = {"errors_of": list(next((row["errors_mm"] for row in found if row["errors_mm"]), ()))}
    return {
        "ladder": comparison.ladder,
        "store": f"{base.name}.zarr",
        "seeds": list(comparison.seeds),
        "splits": splits,
        "columns": list(comparison.columns),
        "mean_over": comparison.mean_over,
        **of,
        "rows": found,
        "differences": [difference(a, b, splits, found) for a, b in differences_of(config, rows)],
        "published_note": published_note(comparison.ladder),
        "keypoint_errors": keypoint_errors(base),
        "saved": savings(found),
        "workers": num_workers(config),
        "pictures": sorted({path for _, ending in ended for path in ending.pictures}),
        "failed": [
            {"row": job.row, "seed": job.seed, "run_dir": ending.run_dir, "error": ending.error}
            for job, ending in ended
            if ending.error
        ],
    }


def _training_rates(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    rates = {}
    for row in rows:
        known = [run["samples_per_s"] for run in row["runs"] if run["samples_per_s"] is not None]
        if known:
            rates[f"train {row['name']}"] = sum(known) / len(known)
    return rates
