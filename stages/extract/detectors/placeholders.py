"""Stand-ins for the packages that mmpose and timm import but a frozen detector never runs.

They import compiled or heavy packages (`mmcv.ops`, `mmdet`, `torchvision`, `xtcocotools`) at the
top of modules that a top-down detector does not use. While `placeholders()` is active, each of them
that is *not installed* is answered by an empty module; using anything from it raises an ImportError
that names the package to install. Installed packages are never replaced, and afterwards the stand-
ins leave `sys.modules`, so that no other library believes they are there.
"""

from __future__ import annotations

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_REAL_MODULE = {
    "mmcv.ops": "mmcv._ext",  # mmcv-lite ships mmcv.ops without the compiled half
    "mmdet": "mmdet",
    "torchvision": "torchvision",
    "xtcocotools": "xtcocotools",
}
_PACKAGE = {"mmcv.ops": "mmcv (the full build instead of mmcv-lite)"}


def missing_packages() -> dict[str, str]:
    """Return the modules that get a stand-in here, each with the package that provides it."""
    return {
        name: _PACKAGE.get(name, name)
        for name, real in _REAL_MODULE.items()
        if not _is_installed(real)
    }


@contextmanager
def placeholders(absent: Collection[str] = ()) -> Iterator[tuple[str, ...]]:
    """Answer imports of missing packages with stand-ins in the `with` block; yields the names.

    Args:
        absent: full names that the stand-ins do not have, for an importer that reads their
            contents at once but can do without them.
    """
    missing = missing_packages()
    finder = _PlaceholderFinder(missing, frozenset(absent))
    sys.meta_path.insert(0, finder)
    try:
        yield tuple(missing)
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name, mod in sys.modules.items() if isinstance(mod, _Placeholder)]:
            del sys.modules[name]


def _is_installed(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, ValueError):
        return False


class _Unavailable(type):
    """Metaclass of stand-ins: they can be named and subclassed, but neither called nor read."""

    _package: str

    def __call__(cls, *_args: object, **_kwargs: object) -> Any:
        raise ImportError(_message(f"{cls.__module__}.{cls.__qualname__}", cls._package))

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(_message(f"{cls.__module__}.{cls.__qualname__}.{name}", cls._package))


class _Placeholder(ModuleType):
    """An empty package; every attribute is a stand-in class."""

    def __init__(self, name: str, package: str, absent: Collection[str]) -> None:
        super().__init__(name)
        self._package = package
        self._absent = absent

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or f"{self.__name__}.{name}" in self._absent:
            raise AttributeError(name)
        namespace = {"__module__": self.__name__, "_package": self._package}
        return _Unavailable(name, (), namespace)


class _PlaceholderFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, missing: dict[str, str], absent: Collection[str]) -> None:
        self._missing = missing
        self._absent = absent

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        del path, target
        if self._package_of(fullname) is None:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        return _Placeholder(spec.name, self._package_of(spec.name) or spec.name, self._absent)

    def exec_module(self, module: ModuleType) -> None:
        del module  # nothing to run: the module is empty by design

    def _package_of(self, fullname: str) -> str | None:
        for name, package in self._missing.items():
            if fullname == name or fullname.startswith(name + "."):
                return package
        return None


def _message(what: str, package: str) -> str:
    return (
        f"{what} was used, but it comes from {package}, which is not installed (mmpose and timm "
        "import it, a frozen detector "
        f"does not need it). Install {package} to use this part of them."
    )
