"""Weights of a detector: every key of the network and of the file accounted for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoint_files import read_state

_MAX_NAMED_KEYS = 3
_OLD_HEAD, _HEAD = "keypoint_head.", "head."
_DISTILLER = ("student.", "teacher.", "distill_losses.")
_NOT_WEIGHTS = "data_preprocessor."


def load_weights(model: nn.Module, path: Path) -> None:
    """Load a state dict, every key; raises DetectorError listing the keys that do not fit."""
    own = model.state_dict()
    found = _present_names(read_state(path))
    missing = [
        name for name in own if name not in found and not name.endswith("num_batches_tracked")
    ]
    unexpected = [name for name in found if name not in own]
    shapes = [
        f"{name} {list(value.shape)} instead of {list(own[name].shape)}"
        for name, value in found.items()
        if name in own and value.shape != own[name].shape
    ]
    problems = [
        f"{len(keys)} {title}: "
        f"{', '.join(keys[:_MAX_NAMED_KEYS])}{', ...' if len(keys) > _MAX_NAMED_KEYS else ''}"
        for title, keys in (
            ("missing", missing),
            ("unexpected", unexpected),
            ("of another shape", shapes),
        )
        if keys
    ]
    if problems:
        raise DetectorError(
            f"{path.name} does not fit the detector's network ({len(own)} tensors): "
            f"{'; '.join(problems)}. {_advice(own, found)}"
        )
    model.load_state_dict({**own, **found})


def _present_names(state: dict[str, Tensor]) -> dict[str, Tensor]:
    # mmpose before 1.0 called the head `keypoint_head`; its checkpoints are still published.
    return {
        _HEAD + name.removeprefix(_OLD_HEAD) if name.startswith(_OLD_HEAD) else name: value
        for name, value in state.items()
        if not name.startswith(_NOT_WEIGHTS)
    }


def _advice(own: dict[str, Tensor], found: dict[str, Tensor]) -> str:
    if any(name.startswith(_DISTILLER) for name in found):
        return (
            "It is the checkpoint of a distillation: a student, its teacher and their losses. "
            "Transfer it to a plain pose estimator first, as mmpose's DWPose page shows."
        )
    if _begins(found, "backbone.") and not _begins(found, _HEAD) and _begins(own, _HEAD):
        return "It has a backbone and no head. Give the checkpoint of a whole pose estimator."
    if own and not any(name in own for name in found):
        if all(f"backbone.{name}" in own for name in found):
            return "It is a bare backbone. Give the checkpoint of a whole pose estimator."
        return f"None of its names fit (it has {_first_parts(found)}). Is it another network's?"
    return "Use the config that belongs to these weights."


def _begins(state: dict[str, Tensor], prefix: str) -> bool:
    return any(name.startswith(prefix) for name in state)


def _first_parts(state: dict[str, Tensor]) -> str:
    parts: Sequence[str] = sorted({name.partition(".")[0] for name in state})
    shown = ", ".join(f"{part}.*" for part in parts[:_MAX_NAMED_KEYS])
    return shown + (", ..." if len(parts) > _MAX_NAMED_KEYS else "")
