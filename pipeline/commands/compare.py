"""`posecache compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cache.fingerprint import diff_identities
from pipeline.console import console, print_json
from pipeline.errors import ConfigError
from pipeline.runs import CONFIG_FILE, METRICS_FILE, find_run, read_json
from pipeline.settings import parse_set
from pipeline.tables import change_table, changed_settings_table
from stages.lift import compare_metrics


def run_compare(runs: Sequence[Path], *, sets: Sequence[str], as_json: bool) -> None:
    """Print how the later runs differ from the first: errors with intervals, and settings."""
    if len(runs) < 2:
        raise ConfigError("compare needs at least two runs: posecache compare RUN RUN ...")
    changes = dict(map(parse_set, sets))
    if unknown := set(changes) - {"runs_root"}:
        raise ConfigError(f"compare reads only runs_root, not {sorted(unknown)[0]!r}.")
    root = Path(str(changes.get("runs_root", "runs")))
    found = [find_run(run, root) for run in runs]
    result = compare_runs(found)
    if as_json:
        print_json(result)
        return
    screen = console()
    for other in result["others"]:
        screen.print(change_table(result["base"], other))
        screen.print(changed_settings_table(other))


def compare_runs(runs: Sequence[Path]) -> dict[str, Any]:
    """Return the differences of each later run to the first, by split, and the changed settings."""
    base, *others = runs
    metrics = {run: read_json(run / METRICS_FILE) for run in runs}
    configs = {run: read_json(run / CONFIG_FILE) for run in runs}
    entries = []
    for run in others:
        splits = {}
        for split in metrics[base]["splits"]:
            if split not in metrics[run]["splits"]:
                continue
            found = compare_metrics([metrics[base]], [metrics[run]], split)
            splits[split] = {
                "base_mm": found.mean_a_mm,
                "run_mm": found.mean_b_mm,
                "difference_mm": found.difference_mm,
                "low_mm": found.low_mm,
                "high_mm": found.high_mm,
                "resolved": found.is_resolved,
            }
        entries.append(
            {
                "run": str(run),
                "splits": splits,
                "settings": diff_identities(configs[base], configs[run]),
            }
        )
    return {"base": str(base), "others": entries}
