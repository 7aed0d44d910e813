"""The index of experiments: a line for every run directory, whatever state it is in."""

from __future__ import annotations

import csv
import fcntl
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pipeline.errors import ConfigError
from pipeline.runs.directories import CONFIG_FILE, METRICS_FILE, PROVENANCE_FILE, write_text
from pipeline.runs.settings import settings_text
from pipeline.settings import did_you_mean
from stages.lift.progress import mean_wait_fraction, train_seconds

INDEX_FILE = "index.csv"
RUN_FILE, LOG_FILE = "run.json", "log.jsonl"
_LOCK_FILE = ".index.lock"

Entry = dict[str, Any]

COLUMNS = (
    "name",
    "state",
    "lifter",
    "store",
    "keypoints",
    "features",
    "context",
    "num_frames",
    "seed",
    "epochs",
    "steps",
    "best_epoch",
    "validation_mpjpe_mm",
    "test_mpjpe_mm",
    "test_p_mpjpe_mm",
    "test_action_mpjpe_mm",
    "test_action_p_mpjpe_mm",
    "parameters",
    "minutes",
    "wait_percent",
    "finished",
    "revision",
    "settings",
    "notes",
)
"""Columns of every index. `test` is the first test split of a run; of any other split `SPLIT` there
are `SPLIT_mpjpe_mm` and `SPLIT_p_mpjpe_mm`. Metrics are means over frames, `action` ones over
actions."""


def list_runs(runs_root: Path) -> list[Entry]:
    """Return an entry per run directory below `runs_root`, by name.

    Every entry has `COLUMNS`; None is what is not known. `state` is `finished`, `unfinished` (not
    trained or not evaluated to its end) or `broken` (`notes` says which files cannot be read).
    """
    files = (RUN_FILE, METRICS_FILE, LOG_FILE)
    folders = {path.parent for name in files for path in runs_root.glob(f"**/{name}")}
    return [describe_run(folder, runs_root) for folder in sorted(folders) if folder.is_dir()]


def describe_run(run_dir: Path, runs_root: Path) -> Entry:
    """Return the entry of one run directory; never fails because of what is in it."""
    entry: Entry = dict.fromkeys(COLUMNS)
    entry["name"] = run_dir.relative_to(runs_root).as_posix()
    entry["state"] = "unfinished"
    problems: list[str] = []
    readers: tuple[tuple[str, Callable[[Any, Entry], Entry]], ...] = (
        (RUN_FILE, _from_description),
        (LOG_FILE, _from_log),
        (METRICS_FILE, _from_metrics),
        (PROVENANCE_FILE, _from_provenance),
    )
    for name, take in readers:
        path = run_dir / name
        try:
            content = _read_log(path) if name == LOG_FILE else json.loads(path.read_text("utf-8"))
            entry |= take(content, entry)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            problems.append(f"{name} cannot be read ({type(error).__name__}: {error})")
    config_file = run_dir / CONFIG_FILE
    if problems:
        entry["state"] = "broken"
        entry["notes"] = "; ".join(filter(None, [entry["notes"], *problems]))
    elif (run_dir / METRICS_FILE).is_file() and config_file.is_file():
        entry["state"] = "finished"
        if entry["finished"] is None:
            with suppress(OSError):  # it may be deleted meanwhile
                entry["finished"] = _date(config_file.stat().st_mtime)
    return entry


def write_index(
    runs_root: Path, check: Callable[[Sequence[Entry]], object] | None = None
) -> list[Entry]:
    """Write `index.csv` of all runs below `runs_root`, whole or not at all; return the entries.

    Processes that write it at a time take turns, so that none overwrites a newer index with an
    older one. `check` is called with the entries before anything is written. Raises
    UnwritableTarget.
    """
    with _turn(runs_root):
        entries = list_runs(runs_root)
        if check is not None:
            check(entries)
        columns = dict.fromkeys([*COLUMNS, *(key for entry in entries for key in entry)])
        lines = io.StringIO()
        writer = csv.DictWriter(lines, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(entries)
        write_text(runs_root / INDEX_FILE, lines.getvalue())
    return entries


def chosen(entries: Sequence[Entry], conditions: Sequence[str]) -> list[Entry]:
    """Return the entries that satisfy every `COLUMN=VALUE`; `*` and `?` of VALUE stand for any.

    Raises ConfigError for a text that is no condition or a column that there is not.
    """
    found = list(entries)
    for text in conditions:
        column, equals, pattern = text.partition("=")
        if not equals:
            raise ConfigError(f"--where {text!r}: expected COLUMN=VALUE, e.g. --where lifter=capf.")
        key = _column(column.strip(), entries)
        found = [entry for entry in found if fnmatchcase(_word(entry.get(key)), pattern.strip())]
    return found


def ordered(entries: Sequence[Entry], column: str) -> list[Entry]:
    """Return the entries by a column, smallest first; what is not known comes last.

    Raises ConfigError for a column that there is not.
    """
    key = _column(column, entries)
    known = [entry for entry in entries if entry.get(key) is not None]
    numbers = all(isinstance(entry[key], int | float) for entry in known)
    known.sort(key=lambda entry: entry[key] if numbers else _word(entry[key]))
    return [*known, *(entry for entry in entries if entry.get(key) is None)]


def _column(name: str, entries: Sequence[Entry]) -> str:
    """Return the column of that name, or the first that begins with it."""
    columns = tuple(dict.fromkeys([*COLUMNS, *(key for entry in entries for key in entry)]))
    if name in columns:
        return name
    beginning = [column for column in columns if name and column.startswith(name)]
    if not beginning:
        raise ConfigError(
            f"There is no column {name!r}{did_you_mean(name, columns)} "
            f"Columns: {', '.join(columns)}."
        )
    return beginning[0]


def _word(value: Any) -> str:
    return "" if value is None else str(value)


def _from_description(run: Mapping[str, Any], entry: Entry) -> Entry:
    train, lifter = run["train"], run["lifter"]
    store, found, _ = entry["name"].rpartition("/")[2].partition(f"-{lifter['name']}-")
    return {
        "lifter": lifter["name"],
        "store": f"{store}.zarr" if found else None,  # until the metrics name it
        "keypoints": train["data"]["keypoint_source"],
        "context": train["data"]["context"] if run["trained_on"]["levels"] else "none",
        "num_frames": lifter.get("num_frames", 1),
        "seed": train["seed"],
        "parameters": run["num_parameters"],
        "settings": settings_text(run),
        "notes": " ".join(run.get("notes", ())) or None,
    }


def _from_log(log: Sequence[Mapping[str, Any]], _entry: Entry) -> Entry:
    if not log:
        return {}
    best = [line["epoch"] for line in log if line["best"]]
    return {
        "epochs": log[-1]["epoch"],
        "steps": log[-1]["step"],
        "best_epoch": best[-1] if best else None,
        "minutes": round(train_seconds(log) / 60, 2),
        "wait_percent": round(100 * mean_wait_fraction(log), 2),
    }


def _from_metrics(metrics: Mapping[str, Any], entry: Entry) -> Entry:
    found: Entry = {
        "lifter": metrics["lifter"],
        "store": metrics.get("store", entry["store"]),
        "keypoints": metrics["keypoint_source"],
        "features": metrics.get("feature_source"),
        "context": metrics["context"] or "none",
        "seed": metrics["seed"],
        "best_epoch": metrics["epoch"],
        "parameters": metrics["num_parameters"],
        "notes": " ".join(metrics.get("notes", ())) or None,
    }
    tests = [split for split in metrics["splits"] if split.startswith("test")]
    for split, means in metrics["splits"].items():
        prefix = "test" if split in tests[:1] else split
        for name in ("mpjpe_mm", "p_mpjpe_mm"):
            found[f"{prefix}_{name}"] = round(means["frame_wise"][name], 3)
            if prefix == "test":
                found[f"test_action_{name}"] = round(means["action_wise"][name], 3)
    return found


def _from_provenance(provenance: Mapping[str, Any], _entry: Entry) -> Entry:
    return {"finished": provenance.get("finished"), "revision": provenance["git_revision"]}


def _read_log(path: Path) -> list[dict[str, Any]]:
    lines = path.read_text("utf-8").splitlines()
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entries.append(json.loads(line))
        except ValueError:
            if number < len(lines):
                raise
            # A run that was killed while it wrote leaves half a line; the run goes on from there.
    return entries


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


@contextmanager
def _turn(runs_root: Path) -> Iterator[None]:
    """Waits until no other process writes the index; not on file systems without locks."""
    try:
        runs_root.mkdir(parents=True, exist_ok=True)
        lock = (runs_root / _LOCK_FILE).open("w")
    except OSError:
        yield  # writing says what is wrong
        return
    with lock:
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield
