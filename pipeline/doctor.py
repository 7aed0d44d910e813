"""The self check: what is installed, what runs where, what is wrong and how to mend it."""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import time
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pipeline.runs.directories import git_revision, package_versions

Level = Literal["ok", "note", "bad"]

_REQUIRED_FREE_GB = 2.0
_PROBE_BYTES = 64 * 2**20
_SETUP = "make setup"
_NEEDED_FOR_STAGE_1 = ("mmpose", "mmcv-lite", "onedl-mmengine")
_CV2_FLAVOURS = (
    "opencv-python",
    "opencv-python-headless",
    "opencv-contrib-python",
    "opencv-contrib-python-headless",
)


@dataclass(frozen=True)
class Finding:
    """One line of the check; `repair` is a command, present on every bad line."""

    name: str
    level: Level
    value: str
    repair: str | None = None


def examine(data_root: str) -> list[Finding]:
    """Return all findings; of `data_root`, a folder, the disk is measured, a URL is asked."""
    return [
        *_packages(),
        _cv2_flavours(),
        *_torch(),
        *_sampling(),
        *_placeholders(),
        *(_bucket(data_root) if "://" in data_root else _disk(Path(data_root))),
        Finding("source", "note", git_revision() or "not a git checkout"),
    ]


def as_json(findings: list[Finding]) -> dict[str, Any]:
    """Return the findings as plain values."""
    return {
        "ok": all(finding.level != "bad" for finding in findings),
        "findings": [asdict(finding) for finding in findings],
    }


def _packages() -> list[Finding]:
    findings = []
    for name, version in package_versions().items():
        if version is not None:
            findings.append(Finding(name, "ok", version))
        elif name in _NEEDED_FOR_STAGE_1:
            findings.append(
                Finding(name, "bad", "missing: stage 1 (extract) cannot run", _SETUP),
            )
        elif name == "dask":
            findings.append(Finding(name, "note", "not installed: one machine only"))
        else:
            findings.append(Finding(name, "bad", "missing", _SETUP))
    return findings


def _cv2_flavours() -> Finding:
    present = [name for name in _CV2_FLAVOURS if _is_installed(name)]
    if len(present) > 1:
        # They write the same files, so removing one breaks the other: both go, one comes back.
        repair = (
            f"python -m pip uninstall -y {' '.join(present)} && "
            "python -m pip install -c constraints.txt opencv-python-headless"
        )
        return Finding("cv2 flavours", "bad", f"clash: {', '.join(present)}", repair)
    return Finding("cv2 flavours", "ok", ", ".join(present) or "none")


def _torch() -> list[Finding]:
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    findings = [
        Finding("torch threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} cores"),
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = f"{properties.total_memory / 2**30:.0f} GiB"
            findings.append(Finding(f"cuda:{index}", "ok", f"{properties.name}, {memory}"))
    else:
        findings.append(Finding("cuda", "note", "none: everything runs on the CPU"))
    return findings


def _sampling() -> list[Finding]:
    from lifter.ops import cpu

    text = "not compiled: the slower PyTorch reference serves"
    repair = "install gcc, then: rm -rf .venv && make setup"
    kernel = Finding("sampling kernel", "bad", text, repair)
    if cpu.is_built():
        kernel = Finding("sampling kernel", "ok", "compiled")
    return [kernel, _triton()]


def _triton() -> Finding:
    import torch

    name = "sampling on a GPU"
    if _is_installed("triton"):
        return Finding(name, "ok", f"triton {metadata.version('triton')}")
    if torch.cuda.is_available():
        text = "triton is missing: the slower PyTorch reference serves"
        return Finding(name, "bad", text, "python -m pip install triton")
    return Finding(name, "note", "triton is not installed, and there is no GPU to use it")


def _placeholders() -> list[Finding]:
    from stages.extract.detectors.placeholders import missing_packages

    missing = missing_packages()
    if not missing:
        return [Finding("mmpose stand-ins", "ok", "none")]
    text = ", ".join(missing) + " (a frozen detector never runs them)"
    return [Finding("mmpose stand-ins", "note", text)]


def _bucket(data_root: str) -> list[Finding]:
    from cache import CacheError
    from cache.storage import open_storage

    try:
        names = open_storage(data_root).names("")
    except (CacheError, OSError) as error:
        return [Finding("bucket", "bad", str(error), "set the AWS_* variables, then run it again")]
    return [Finding("bucket", "ok", f"{data_root} answers, {len(names)} names in it")]


def _disk(data_root: Path) -> list[Finding]:
    folder = data_root.absolute()
    while not folder.exists():
        folder = folder.parent
    free_gb = shutil.disk_usage(folder).free / 1e9
    space = Finding("free disk", "ok", f"{free_gb:.1f} GB at {data_root}")
    if free_gb < _REQUIRED_FREE_GB:
        text = f"{free_gb:.1f} GB at {data_root}, {_REQUIRED_FREE_GB:.0f} GB wanted"
        space = Finding("free disk", "bad", text, "make clean-cache clean-runs")
    try:
        written, read = _disk_speed(folder)
    except OSError as error:
        text = f"{data_root} cannot be written: {error.strerror or error}"
        return [space, Finding("disk", "bad", text, "posecache ... --set data_root=DIR")]
    speed = f"write + fsync {written:.2f} GB/s, read back {read:.1f} GB/s (page cache)"
    return [space, Finding("disk", "ok", speed)]


def _disk_speed(folder: Path) -> tuple[float, float]:
    """Return GB/s of a synced write and of reading it back, 64 MiB that do not compress."""
    content = os.urandom(2**20) * (_PROBE_BYTES // 2**20)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".disk-probe-") as file:
        start = time.perf_counter()
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
        written = time.perf_counter()
        file.seek(0)
        while file.read(2**22):
            pass
        read = time.perf_counter()
    return _PROBE_BYTES / 1e9 / (written - start), _PROBE_BYTES / 1e9 / (read - written)


def _is_installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
