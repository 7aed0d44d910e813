"""What a shell offers for the values of options: names of shipped files, lifters, runs, stores.

Called at every press of the tab key, so nothing here imports more than the standard library.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_CONFIGS = Path(__file__).with_name("configs")
_LIFTERS = Path(__file__).parents[1] / "lifter" / "models"
_METRICS_FILE = "metrics.json"


def presets(incomplete: str) -> list[str]:
    """Return the shipped presets that begin so."""
    return _shipped("presets", incomplete)


def datasets(incomplete: str) -> list[str]:
    """Return the shipped datasets that begin so."""
    return _shipped("datasets", incomplete)


def detectors(incomplete: str) -> list[str]:
    """Return the shipped detectors that begin so."""
    return _shipped("detectors", incomplete)


def ladders(incomplete: str) -> list[str]:
    """Return the shipped ladders that begin so."""
    return _shipped("ladders", incomplete)


def lifters(incomplete: str) -> list[str]:
    """Return the lifters that begin so, read from their sources: importing them imports torch."""
    names = (name for path in sorted(_LIFTERS.rglob("*.py")) for name in _lifter_names(path))
    return [name for name in sorted(names) if name.startswith(incomplete)]


def runs(ctx: Any, incomplete: str) -> list[str]:
    """Return the finished runs below `runs_root` that begin so, with and without that folder."""
    root = _root(ctx.params, "runs_root", "runs")
    found = [path.parent for path in sorted(root.glob(f"**/{_METRICS_FILE}"))]
    names = [str(run.relative_to(root)) for run in found] + [str(run) for run in found]
    return [name for name in names if name.startswith(incomplete)]


def stores(ctx: Any, incomplete: str) -> list[str]:
    """Return the stores below `data_root` that begin so."""
    root = _root(ctx.params, "data_root", "data")
    return [str(path) for path in sorted(root.glob("*.zarr")) if str(path).startswith(incomplete)]


def _shipped(kind: str, incomplete: str) -> list[str]:
    names = sorted(path.stem for path in (_CONFIGS / kind).glob("*.yaml"))
    return [name for name in names if name.startswith(incomplete)]


def _lifter_names(path: Path) -> Iterator[str]:
    """Yield the `name` of every class of a file that has one as a plain text."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        for line in node.body if isinstance(node, ast.ClassDef) else ():
            if isinstance(line, ast.Assign | ast.AnnAssign):
                target = line.targets[0] if isinstance(line, ast.Assign) else line.target
                is_name = isinstance(target, ast.Name) and target.id == "name"
                if is_name and isinstance(line.value, ast.Constant):
                    yield str(line.value.value)


def _root(params: Mapping[str, Any], key: str, default: str) -> Path:
    """Return the folder that `--set KEY=DIR` names on the line so far."""
    for text in reversed(params.get("sets") or []):
        name, _, value = text.partition("=")
        if name == key:
            return Path(value)
    return Path(default)
