"""Dataset pickles and arrays, read without running what they name."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

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
    except Exception as error:  # a damaged pickle calls what it names with anything
        raise _unreadable(path, error) from error


def load_object_npz(path: Path) -> dict[str, Any]:
    """Return the arrays of an npz that numpy would read only with `allow_pickle`.

    An array that holds a single object, such as a dict, is returned as that object. Raises
    DatasetError for anything but numpy arrays and plain containers in it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                name.removesuffix(".npy"): _load_npy(archive, name) for name in archive.namelist()
            }
    except FileNotFoundError as error:
        raise DatasetError(f"{path} does not exist; the dataset's layout needs it.") from error
    except Exception as error:
        raise _unreadable(path, error) from error


def load_arrays(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Return these arrays of an npz, none of objects; raises DatasetError."""
    try:
        # Opened here, since numpy leaves a file open that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in names}
    except Exception as error:
        raise _unreadable(path, error) from error


def load_array(path: Path) -> NDArray[Any]:
    """Return the array of an npy, not of objects; raises DatasetError."""
    try:
        with path.open("rb") as file:
            return np.asarray(np.load(file, allow_pickle=False))
    except Exception as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} cannot be read ({type(error).__name__}: {error}). If it is incomplete or damaged, "
        "copy or download it again."
    )


def _load_npy(archive: zipfile.ZipFile, name: str) -> Any:
    with archive.open(name) as file:
        version = np.lib.format.read_magic(file)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, dtype = read_header(file)
        if dtype.hasobject:
            value = _load(file)
            return value[()] if shape == () else value
    with archive.open(name) as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _load(file: IO[bytes]) -> Any:
    # latin1 reads the arrays of pickles that Python 2 wrote.
    return _PlainUnpickler(file, encoding="latin1").load()
