"""Dataset pickles, read without running what they name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

from stages.extract.datasets.base import DatasetError

_ALLOWED = {
    (module, name)
    for package in ("numpy.core", "numpy._core")
    for module, name in (
        (f"{package}.multiarray", "_reconstruct"),
        (f"{package}.multiarray", "scalar"),
    )
} | {
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("collections", "OrderedDict"),
}


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(
                f"it names {module}.{name}; only numpy arrays and plain containers are read"
            )
        return super().find_class(module, name)


def load_pickle(path: Path) -> Any:
    """Return a pickle's arrays and containers; raises DatasetError for anything else in it."""
    try:
        with path.open("rb") as file:
            return _load(file)
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; the dataset's layout needs it.") from error
    except (pickle.UnpicklingError, EOFError, UnicodeDecodeError) as error:
        raise DatasetError(f"{path} cannot be read: {error}.") from error


def _load(file: IO[bytes]) -> Any:
    # latin1 reads the arrays of pickles that Python 2 wrote.
    return _PlainUnpickler(file, encoding="latin1").load()
