"""`posecache compare`."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.console import console, print_json
from pipeline.errors import ConfigError
from pipeline.runs.comparison import CSV_COLUMNS, compare_runs, csv_rows
from pipeline.runs.comparison_tables import change_table, runs_table, settings_table
from pipeline.runs.directories import find_run, write_text
from pipeline.settings import parse_set


def run_compare(
    runs: Sequence[Path], *, sets: Sequence[str], csv_file: Path | None, as_json: bool
) -> None:
    """Print how the later runs differ from the first: all metrics, sources, and settings."""
    if len(runs) < 2:
        raise ConfigError("compare needs at least two runs: posecache compare RUN RUN ...")
    changes = dict(map(parse_set, sets))
    if unknown := set(changes) - {"runs_root"}:
        raise ConfigError(f"compare reads only runs_root, not {sorted(unknown)[0]!r}.")
    root = Path(str(changes.get("runs_root", "runs")))
    result = compare_runs([find_run(run, root) for run in runs])
    if csv_file is not None:
        write_text(csv_file, _as_csv(result))
    if as_json:
        print_json(result)
        return
    screen = console()
    screen.print(runs_table(result, screen.width))
    for split in result["runs"][0]["splits"]:
        screen.print(change_table(result, split))
    screen.print(settings_table(result["settings"], len(result["runs"])))
    if csv_file is not None:
        screen.print(f"table: {csv_file}", soft_wrap=True)


def _as_csv(result: Mapping[str, Any]) -> str:
    lines = io.StringIO()
    writer = csv.DictWriter(lines, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(csv_rows(result))
    return lines.getvalue()
