"""State dicts out of checkpoint files; nothing that a file names is imported or run.

A checkpoint of mmpose is a pickle that holds, beside the weights, arrays of the data set's
description and the training's log. PyTorch's restricted reader (`weights_only=True`) refuses such
objects; here each becomes an inert stand-in.
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from stages.extract.detectors.base import DetectorError


class Dropped:
    """Takes the place of an object that is not a tensor or a plain container; does nothing."""

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass

    def __setitem__(self, _key: object, _value: object) -> None:
        pass


def _list(*_args: object) -> list[Any]:
    return []


def _dict(*_args: object) -> dict[Any, Any]:
    return {}


_KNOWN_GLOBALS: Mapping[str, Callable[..., Any]] = {
    "builtins.getattr": Dropped,  # HistoryBuffer refers to its own methods
    "collections.defaultdict": _dict,
    "collections.deque": _list,
    "mmengine.config.config.ConfigDict": Dropped,
    "mmengine.logging.history_buffer.HistoryBuffer": Dropped,
    "numpy.dtype": Dropped,
    "numpy.ndarray": Dropped,
    "numpy.core.multiarray._reconstruct": Dropped,
    "numpy.core.multiarray.scalar": Dropped,
    "numpy._core.multiarray._reconstruct": Dropped,
    "numpy._core.multiarray.scalar": Dropped,
}
"""What mmengine writes into `meta` and `message_hub` of a checkpoint, and what stands in for it."""
_HEAD_BYTES = 256
_MAX_GLOBALS = 64
_NAMED = re.compile(r"GLOBAL ([\w.]+)")
_REASON = re.compile(r"WeightsUnpickler error:\s+(.+)|^(.+ is blocked)", re.MULTILINE)


@dataclass(frozen=True)
class Conversion:
    """What `convert_checkpoint` kept and left out."""

    num_tensors: int
    size_bytes: int
    dropped: tuple[str, ...]
    """Classes and functions that the file names and that were not looked at."""


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint's state dict by name, on the CPU.

    Raises:
        DetectorError: not a checkpoint, or one that holds more than tensors, plain containers and
            what mmengine writes beside them.
    """
    state, _ = _read(path, drop_anything=False)
    return state


def convert_checkpoint(source: Path, target: Path) -> Conversion:
    """Write the state dict of a checkpoint as safetensors, atomically; all else is left out.

    Raises:
        DetectorError: `source` has no state dict or cannot be read, or `target` is not the path of
            a new .safetensors file.
    """
    if target.suffix != ".safetensors":
        raise DetectorError(f"{target}: give the new file a name that ends in .safetensors.")
    if target.exists():
        raise DetectorError(f"{target} exists already. Delete it, or give another name.")
    if not target.parent.is_dir():
        raise DetectorError(f"{target}: its folder does not exist. Create it first.")
    state, dropped = _read(source, drop_anything=True)
    # Clones, since safetensors refuses tensors that share their memory.
    tensors = {name: value.clone().contiguous() for name, value in state.items()}
    partial = target.with_suffix(".partial")
    try:
        save_file(tensors, partial)
        os.replace(partial, target)
    except (SafetensorError, OSError) as error:
        partial.unlink(missing_ok=True)
        raise DetectorError(f"{target} cannot be written: {error}.") from error
    return Conversion(len(tensors), sum(value.nbytes for value in tensors.values()), dropped)


def _read(path: Path, *, drop_anything: bool) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    if not path.is_file():
        raise DetectorError(
            f"Detector weights {path} do not exist. Train them or give another path."
        )
    _refuse_other_files(path)
    if path.suffix == ".safetensors":
        try:
            return load_file(path), ()
        except (SafetensorError, OSError) as error:
            raise _unreadable(path, error) from error
    loaded, dropped = _unpickle(path, drop_anything=drop_anything)
    inner = loaded.get("state_dict", loaded) if isinstance(loaded, Mapping) else {}
    tensors = inner.items() if isinstance(inner, Mapping) else ()
    state = {str(name): value for name, value in tensors if isinstance(value, Tensor)}
    if not state:
        found = ", ".join(map(str, loaded)) if isinstance(loaded, Mapping) else "no mapping"
        raise DetectorError(
            f"{path} holds no state dict (found: {found}). Give the checkpoint of a pose estimator."
        )
    return state, dropped


def _refuse_other_files(path: Path) -> None:
    """Raise DetectorError for what a failed download leaves under a checkpoint's name."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES).lstrip()
    if head.startswith(b"<"):
        raise DetectorError(
            f"{path} is a web page, not a checkpoint. Download the file itself, to which the page "
            "links, and give that."
        )
    if head.startswith(b"version https://git-lfs"):
        raise DetectorError(
            f"{path} is a pointer of Git LFS, not the checkpoint. Fetch what it points to: git lfs "
            "pull."
        )
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise DetectorError(
            f"{path} is damaged or incomplete: it ends early, after {path.stat().st_size} bytes. "
            "Copy or download it again."
        )


def _unpickle(path: Path, *, drop_anything: bool) -> tuple[Any, tuple[str, ...]]:
    stand_ins = dict(_KNOWN_GLOBALS)
    while True:
        try:
            named: list[Any] = [(stand_in, name) for name, stand_in in stand_ins.items()]
            with torch.serialization.safe_globals(named):
                loaded = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = _REASON.search(str(error))
            if found is None:
                raise _unreadable(path, error) from error
            reason = found[1] or found[2]
            name = _named_global(reason)
            # PyTorch takes no stand-ins for functions of modules that can run commands.
            droppable = name is not None and not found[2]
            repeated = name in stand_ins or len(stand_ins) > _MAX_GLOBALS
            if not (drop_anything and droppable) or repeated:
                raise _refusal(path, name, reason, droppable=droppable) from error
            stand_ins[str(name)] = Dropped
        except (RuntimeError, EOFError, OSError, ValueError, LookupError) as error:
            raise _unreadable(path, error) from error
        else:
            return loaded, tuple(sorted(stand_ins.keys() - _KNOWN_GLOBALS))


def _named_global(reason: str) -> str | None:
    found = _NAMED.search(reason)
    if found is None:
        return None
    # PyTorch leaves the module's name out where it is `builtins`.
    return found[1] if "." in found[1] else f"builtins.{found[1]}"


def _refusal(path: Path, name: str | None, reason: str, *, droppable: bool) -> DetectorError:
    what = f"it names {name}" if name is not None else reason.strip()
    repair = (
        f"Keep only its tensors, once: posecache convert-checkpoint {path} NEW.safetensors"
        if droppable
        else "Pickles like this can be made to do harm: get the checkpoint from its publisher."
    )
    return DetectorError(
        f"{path} holds more than tensors ({what}), so it is not loaded; nothing in it was run. "
        f"{repair}"
    )


def _unreadable(path: Path, error: Exception) -> DetectorError:
    reason = next(iter(str(error).splitlines()), "").partition(". ")[0].rstrip(".")
    return DetectorError(
        f"{path} cannot be read as a checkpoint ({type(error).__name__}: {reason}). It may be "
        "damaged or incomplete: copy or train it again."
    )
