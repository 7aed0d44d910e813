"""The files of a run directory, and how they are written: whole or not at all."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stages.lift.errors import RunCorrupt, RunMismatch, RunMissing, RunWriteError

RUN_FILE = "run.json"
STATE_FILE = "state.pt"
LOG_FILE = "log.jsonl"
METRICS_FILE = "metrics.json"
CURVES_FILE = "curves.png"
WEIGHTS_FILES = {"best": "best.safetensors", "last": "last.safetensors"}
_LOCK_FILE = ".lock"


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file under its name only when it is complete and on disk.

    Raises `RunWriteError` if the disk is full or the folder is not writable; an older file of
    that name then stays as it was.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise RunWriteError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or choose another"
            " runs_root; the same command then goes on from the last saved epoch."
        ) from error


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file; raises `RunCorrupt` if it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunCorrupt(f"{path} cannot be read: {error.strerror or error}.") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Writes `content` as indented JSON, atomically."""
    write_bytes(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> dict[str, Any]:
    """Returns the JSON object in `path`; raises `RunMissing` or `RunCorrupt`."""
    try:
        content = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise RunMissing(
            f"{path} does not exist. Train the run first: 'posecache lift'."
        ) from error
    except (OSError, ValueError) as error:
        raise RunCorrupt(f"{path} cannot be read as JSON: {error}. Train the run again.") from error
    if not isinstance(content, dict):
        raise RunCorrupt(f"{path} holds no JSON object. Train the run again.")
    return content


def write_log(run_dir: Path, entries: Sequence[Mapping[str, Any]]) -> None:
    """Replaces the log by `entries`, one line per epoch."""
    lines = "".join(json.dumps(entry) + "\n" for entry in entries)
    write_bytes(run_dir / LOG_FILE, lines.encode())


def append_log(run_dir: Path, entry: Mapping[str, Any]) -> None:
    """Adds one line to the log."""
    path = run_dir / LOG_FILE
    try:
        with path.open("a") as file:
            file.write(json.dumps(entry) + "\n")
    except OSError as error:
        raise RunWriteError(f"Cannot write {path}: {error.strerror or error}.") from error


def read_log(run_dir: Path) -> list[dict[str, Any]]:
    """Returns the log entries of the finished epochs; a torn last line is left out."""
    path = run_dir / LOG_FILE
    if not path.exists():
        raise RunMissing(f"{path} does not exist. Train the run first: 'posecache lift'.")
    entries = []
    for line in path.read_text().splitlines():
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


@contextmanager
def open_run(run_dir: Path) -> Iterator[None]:
    """Creates the folder and keeps other processes from training in it meanwhile.

    What fails before it has saved anything takes the folder that it created away again.

    Raises `RunWriteError` if it cannot be created, `RunMismatch` if another process holds it.
    """
    is_new = not run_dir.exists()
    try:
        run_dir.mkdir(parents=True, exist_ok=True)
        lock = (run_dir / _LOCK_FILE).open("w")
    except OSError as error:
        raise RunWriteError(
            f"Cannot create the run directory {run_dir}: {error.strerror or error}."
            " Choose another runs_root."
        ) from error
    with lock:
        try:
            # The kernel drops the lock with the process, so a killed run blocks nobody.
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunMismatch(
                f"Another process is training in {run_dir}. Wait for it or choose another run."
            ) from error
        if os.fstat(lock.fileno()).st_nlink == 0:
            # The process that held it has taken back the run that it could not begin.
            raise RunMismatch(f"Another process was training in {run_dir}. Run this again.")
        try:
            yield
        except Exception:
            if is_new:
                _take_back(run_dir)
            raise


def _take_back(run_dir: Path) -> None:
    """Removes a run directory in which nothing is that training could go on from."""
    if any((run_dir / name).exists() for name in (STATE_FILE, *WEIGHTS_FILES.values())):
        return
    for name in (RUN_FILE, LOG_FILE, _LOCK_FILE):
        (run_dir / name).unlink(missing_ok=True)
    with suppress(OSError):
        run_dir.rmdir()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
