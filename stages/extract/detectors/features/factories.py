"""Functions named in a configuration: `package.module:function` or `file.py:function`.

To name a file is to run it, with the rights of whoever runs posecache.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from stages.extract.detectors.base import DetectorError


def split_reference(reference: str) -> tuple[str, str]:
    """Return file or module, and function; raises DetectorError."""
    source, _, function = reference.rpartition(":")
    if not source or not function.isidentifier():
        raise DetectorError(
            f"detector.module {reference!r}: expected package.module:function or file.py:function."
        )
    return source, function


def source_file(reference: str) -> Path | None:
    """Return the file that the function is in, without running it; None if there is none to see.

    Raises:
        DetectorError: there is no such file or module.
    """
    source, _ = split_reference(reference)
    if source.endswith(".py"):
        path = Path(source)
        if not path.is_file():
            raise DetectorError(f"detector.module {reference}: there is no file {path}.")
        return path
    try:
        spec = importlib.util.find_spec(source)
    except ImportError:
        spec = None
    if spec is None:
        raise DetectorError(
            f"detector.module {reference}: there is no module {source!r} to import. Install its "
            "package, put its folder on PYTHONPATH, or give a path: folder/file.py:function."
        )
    return Path(spec.origin) if spec.origin and Path(spec.origin).is_file() else None


def load_factory(reference: str) -> Callable[..., Any]:
    """Return the function, after running the file or module that it is in.

    Raises:
        DetectorError: there is no such function, or running the file failed.
    """
    source, function = split_reference(reference)
    file = source_file(reference)
    try:
        module = (
            _import_file(file)
            if file is not None and source.endswith(".py")
            else importlib.import_module(source)
        )
    except Exception as error:
        raise DetectorError(
            f"detector.module {reference}: importing it failed: {type(error).__name__}: {error}"
        ) from error
    factory = getattr(module, function, None)
    if not callable(factory):
        raise DetectorError(f"detector.module {reference}: {source} has no function {function!r}.")
    found: Callable[..., Any] = factory
    return found


def _import_file(path: Path) -> ModuleType:
    # Another file of the same name is another module; dataclasses look theirs up in sys.modules.
    digest = hashlib.sha256(str(path.absolute()).encode() + path.read_bytes()).hexdigest()
    name = f"posecache_module_{path.stem}_{digest[:12]}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
