"""`posecache list-runs`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pipeline.console import console, print_json
from pipeline.errors import ConfigError, PipelineError
from pipeline.runs.index import INDEX_FILE, Entry, chosen, ordered, write_index
from pipeline.runs.index_tables import index_table
from pipeline.settings import parse_set


def run_list_runs(
    *, where: Sequence[str], sort: str | None, sets: Sequence[str], as_json: bool
) -> None:
    """Write the index of all runs anew and print those that are asked for."""
    changes = dict(map(parse_set, sets))
    if unknown := set(changes) - {"runs_root"}:
        raise ConfigError(f"list-runs reads only runs_root, not {sorted(unknown)[0]!r}.")
    root = Path(str(changes.get("runs_root", "runs")))
    if not root.is_dir():
        raise PipelineError(
            f"{root}: there is no such folder of runs. Train one first: posecache lift."
        )

    def asked_for(entries: Sequence[Entry]) -> list[Entry]:
        found = chosen(entries, where)
        return found if sort is None else ordered(found, sort)

    entries = asked_for(write_index(root, check=asked_for))
    if as_json:
        print_json(entries)
        return
    screen = console()
    if entries:
        screen.print(index_table(entries, screen.width if screen.is_terminal else None))
    else:
        screen.print("no runs" + (f" with {' and '.join(where)}" if where else ""))
    screen.print(f"all of them: {root / INDEX_FILE}", soft_wrap=True)
