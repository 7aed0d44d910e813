"""Run directories: their names, what they say about their origin, and finding them again."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError, UnwritableTarget
from pipeline.settings import did_you_mean

METRICS_FILE = "metrics.json"
PROVENANCE_FILE = "provenance.json"
CONFIG_FILE = "config.json"
_FILES_OF_RUNS = ("run.json", CONFIG_FILE, METRICS_FILE, "log.jsonl", "best.safetensors")
"""What a run directory has at least one of, finished or not."""
_NUM_NAMED = 5

PACKAGES = (
    "posecache",
    "torch",
    "numpy",
    "zarr",
    "pydantic",
    "typer",
    "rich",
    "scipy",
    "safetensors",
    "google-crc32c",
    "matplotlib",
    "opencv-python-headless",
    "mmpose",
    "mmcv-lite",
    "onedl-mmengine",
    "timm",
    "dask",
)


def package_versions() -> dict[str, str | None]:
    """Return the installed version of every package that decides results; `None`: not installed."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def git_revision() -> str | None:
    """Return the revision of the sources, `-dirty` if they have changes; `None` outside git."""
    here = Path(__file__).parent
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        answer = subprocess.run(
            command, cwd=here, capture_output=True, text=True, check=False, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None if answer.returncode == 0 else None


def provenance(seconds: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Return where and with what something was made; kept beside results, never inside a store."""
    from lifter.ops import cpu as kernel  # torch comes with it

    return {
        "versions": package_versions(),
        "git_revision": git_revision(),
        "platform": platform.platform(),
        "cpu_count": os.cpu_count(),
        "sampling_on_cpu": "compiled kernel" if kernel.is_built() else "reference",
        "command": sys.argv,
        "seconds": dict(seconds or {}),
    }


def writable_folder(folder: Path, key: str) -> Path:
    """Return `folder`, created; raises UnwritableTarget naming what chose it.

    Args:
        folder: that files will be written to.
        key: of the configuration, or an option of the command, e.g. `--out`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".write-probe-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise UnwritableTarget(
            f"{folder}: cannot be written ({error.strerror or error}). "
            "Free some space or choose another folder: "
            + (f"{key} PATH." if key.startswith("--") else f"--set {key}=DIR.")
        ) from error
    return folder


def write_json(path: Path, content: Any) -> None:
    """Write `content` under its name only when it is complete; raises UnwritableTarget."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write `text` under its name only when it is complete; raises UnwritableTarget."""
    # Names of files need not be text; their bytes are written as they are.
    write_bytes(path, text.encode("utf-8", "surrogateescape"))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under its name only when it is complete; raises UnwritableTarget."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        raise UnwritableTarget(
            f"{path}: cannot be written ({error.strerror or error}). Free some space or choose "
            "another place, and run again."
        ) from error


def read_json(path: Path) -> Any:
    """Return the JSON object of `path`; raises PipelineError if there is none."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise PipelineError(
            f"{path}: there is no such file, so the run is not finished. Repeat the command that "
            "began it; it goes on from the last epoch."
        ) from error
    except (OSError, ValueError) as error:
        raise PipelineError(
            f"{path}: cannot be read as JSON ({error}). Copy it again, or train the run again."
        ) from error
    if not isinstance(content, dict):
        raise PipelineError(f"{path}: holds no JSON object. Copy it again, or train the run again.")
    return content


def finished_runs(runs_root: Path) -> list[Path]:
    """Return the directories below `runs_root` that hold metrics, the newest last."""
    found = [path.parent for path in runs_root.glob(f"**/{METRICS_FILE}")]
    return sorted(found, key=lambda run: (run / METRICS_FILE).stat().st_mtime)


def find_run(run: Path | None, runs_root: Path) -> Path:
    """Return `run`, also when named below `runs_root`; `None`: the newest finished run."""
    if run is None:
        runs = finished_runs(runs_root)
        if not runs:
            raise PipelineError(
                f"{runs_root}: holds no finished run. Train one first: posecache lift."
            )
        return runs[-1]
    folders = [folder for folder in (run, runs_root / run) if folder.is_dir()]
    for folder in folders:
        if any((folder / name).exists() for name in _FILES_OF_RUNS):
            return folder
    if folders:
        what = "is a folder that holds no run."
    elif run.exists():
        what = "is a file, not the folder of a run."
    else:
        what = "there is no such run"
    finished = finished_runs(runs_root)
    names = [str(path.relative_to(runs_root)) for path in finished]
    near = "" if run.exists() else did_you_mean(run.name, names)
    known = ", ".join(reversed(names[-_NUM_NAMED:])) or "none"
    which = f", the newest {_NUM_NAMED} of {len(names)}" if len(names) > _NUM_NAMED else ""
    raise PipelineError(
        f"{run}: {what}{near} Finished runs in {runs_root}{which}: {known}. "
        "Name one of them, or train one: posecache lift."
    )
