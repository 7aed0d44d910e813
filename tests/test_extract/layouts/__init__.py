"""Tiny datasets in the layouts the field uses, written from byte-level facts, not by our readers.

Every module here that has `CASES` takes part in `test_dataset_contract.py`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LayoutCase:
    """One dataset in one layout."""

    dataset: str
    """Name for `build_dataset`."""
    write: Callable[[Path], None]
    """Writes it into an empty folder; the same bytes at every call."""
    annotations: tuple[str, ...] = ()
    """Files below the folder that the adapter cannot do without."""
    picture: str | None = None
    """File below the folder that holds the picture of row 0."""
    tolerance_px: float | None = 1e-3
    """How far the 3D labels, projected, may be from the 2D ones; None without 3D labels."""
    projects: bool = True
    """The 3D labels are what the 2D ones show, in cameras that are known."""
    options: Mapping[str, Any] = field(default_factory=dict)
    label: str = ""
    """Tells cases of one dataset apart."""
    faces_camera: bool = True
    """People look into the camera, so that their left is on the picture's right."""

    def __str__(self) -> str:
        return self.dataset + (f"-{self.label}" if self.label else "")


def all_cases() -> list[LayoutCase]:
    """Every case of the modules of this package."""
    cases: list[LayoutCase] = []
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        cases += getattr(importlib.import_module(f"{__name__}.{module.name}"), "CASES", ())
    return cases
