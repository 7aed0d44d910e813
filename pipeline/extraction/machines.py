"""What decides a worker's float words besides the request: versions, sources, processor, GPU."""

from __future__ import annotations

import functools
import hashlib
import platform
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from pipeline.errors import PipelineError

Machine = Mapping[str, str | None]

_PACKAGES = {
    "torch": ("torch",),
    "numpy": ("numpy",),
    "zarr": ("zarr",),
    "dask": ("dask",),
    "distributed": ("distributed",),
    "mmpose": ("mmpose",),
    "mmcv": ("mmcv-lite", "mmcv"),
    "mmengine": ("onedl-mmengine", "mmengine"),
    "timm": ("timm",),
    "cv2": (
        "opencv-python-headless",
        "opencv-python",
        "opencv-contrib-python-headless",
        "opencv-contrib-python",
    ),
}
"""Module -> the distributions that may bring it."""
_SOURCES = ("cache", "stages/extract", "pipeline")
"""What takes part in a task; two checkouts may bear the same version."""
_HARDWARE = ("processor", "gpu")


class MachineMismatch(PipelineError):
    """A worker has other versions or another processor; every differing package is named."""


def versions_here() -> dict[str, str | None]:
    """Return the versions of all that takes part, None for what is not installed."""
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "posecache": f"{_version(('posecache',))}, sources {_source_hash()}",
    }
    return {**versions, **{name: _version(places) for name, places in _PACKAGES.items()}}


def _version(distributions: Sequence[str]) -> str | None:
    for distribution in distributions:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(distribution)
    return None


@functools.cache
def _machine_here(device: str) -> tuple[tuple[str, str | None], ...]:
    import torch

    hardware: dict[str, str | None] = {"processor": torch.backends.cpu.get_cpu_capability()}
    if device.startswith("cuda"):
        found = torch.cuda.is_available()
        hardware["gpu"] = torch.cuda.get_device_name(device) if found else None
    return tuple({**versions_here(), **hardware}.items())


def machine_here(device: str) -> dict[str, str | None]:
    """Return versions, vector instructions of the processor and, for `cuda`, the GPU's name."""
    return dict(_machine_here(device))


def refuse_other_machine(
    asked: Machine, found: Machine, *, where: str | None = None, mixed_machines: bool = False
) -> None:
    """Raise MachineMismatch unless `found` has what `asked` has.

    Args:
        asked: the machine of the command.
        found: that of a worker, or of a scheduler, which has no processor to compare.
        where: its name; None is this host.
        mixed_machines: another processor or GPU is allowed.
    """
    names = [name for name in asked if name in found]
    if mixed_machines:
        names = [name for name in names if name not in _HARDWARE]
    differing = [name for name in names if asked[name] != found[name]]
    if not differing:
        return
    listed = "; ".join(
        f"{name}: here {asked[name] or 'none'}, there {found[name] or 'none'}" for name in differing
    )
    advice = "Install the same versions on all machines (constraints.txt names them)"
    if set(differing) <= set(_HARDWARE):
        advice = (
            "Use machines of one kind, or give up bit-for-bit reproducible stores: "
            "--set extract.mixed_machines=true"
        )
    raise MachineMismatch(
        f"{where or f'the worker on {socket.gethostname()}'} is not like this machine, and would "
        f"write other bytes: {listed}. {advice}"
    )


@functools.cache
def _source_hash() -> str:
    root = Path(__file__).parents[2]
    digest = hashlib.sha256()
    for folder in _SOURCES:
        for path in sorted((root / folder).rglob("*.py")):
            content = path.read_bytes()
            digest.update(f"{path.relative_to(root).as_posix()}:{len(content)}:".encode())
            digest.update(content)
    return digest.hexdigest()[:12]
