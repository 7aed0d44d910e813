"""What a run was told that is not the default, as words for an index."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lifter.config import LifterConfig
from stages.lift.config import TrainConfig

_SAID_ELSEWHERE = frozenset(
    {
        "lifter.name",
        "lifter.num_frames",
        "train.seed",
        "train.steps",
        "train.epochs",
        "train.data.keypoint_source",
        "train.data.context",
        "train.threads",
        "train.device",
    }
)
"""Columns of their own, and what says where a run was trained rather than how."""
_BETWEEN = "; "


def settings_text(run: Mapping[str, Any]) -> str | None:
    """Return `key=value; key=value` of the settings in `run.json` that are not the defaults.

    None where another version wrote settings that this one does not know.
    """
    try:
        train = TrainConfig.model_validate(run["train"]).decisive(changed_only=True)
        lifter = LifterConfig.model_validate(run["lifter"])
    except ValidationError:
        return None
    tree = {"lifter": lifter.model_dump(mode="json", exclude_defaults=True), "train": train}
    words = [f"{key}={value}" for key, value in _dotted(tree) if key not in _SAID_ELSEWHERE]
    return _BETWEEN.join(sorted(words))


def told_apart(texts: Sequence[str | None]) -> list[str | None]:
    """Return of each text the settings that are not in all of them."""
    known = [set(text.split(_BETWEEN)) for text in texts if text is not None]
    shared = set.intersection(*known) if known else set()
    return [
        None
        if text is None
        else _BETWEEN.join(word for word in text.split(_BETWEEN) if word not in shared)
        for text in texts
    ]


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
