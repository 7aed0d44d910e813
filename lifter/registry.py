"""Lifters by name."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from lifter.config import LifterConfig
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.models.capf import Capf
from lifter.models.pose_only import PoseOnly

LIFTERS: dict[str, type[Lifter]] = {"pose_only": PoseOnly, "capf": Capf}


def build_lifter(
    config: LifterConfig | str,
    *,
    level_channels: Sequence[int] = (),
    num_joints: int = 17,
    **options: Any,
) -> Lifter:
    """Returns a lifter with random weights, in training mode.

    Args:
        config: A configuration, or the name of a lifter, whose other settings are the published.
        level_channels: Channels of the maps, in the order in which `forward` will get them.
        num_joints: Joints of the 2D input and of the prediction.
        **options: Fields of `LifterConfig` that differ from `config`.

    Raises:
        LifterConfigError: The name or an option is unknown, or a value is not allowed.
    """
    fields = {"name": config} if isinstance(config, str) else config.model_dump()
    unknown = sorted(set(options) - set(LifterConfig.model_fields))
    if unknown:
        raise LifterConfigError(
            f"Lifters have no option {', '.join(map(repr, unknown))}"
            f"{_suggestion(unknown[0], LifterConfig.model_fields)}. "
            f"They have: {', '.join(LifterConfig.model_fields)}."
        )
    try:
        config = LifterConfig(**{**fields, **options})
    except ValidationError as error:
        raise LifterConfigError(f"This lifter cannot be built: {error}") from error
    if config.name not in LIFTERS:
        raise LifterConfigError(
            f"There is no lifter {config.name!r}{_suggestion(config.name, LIFTERS)}. "
            f"Lifters: {', '.join(LIFTERS)}."
        )
    return LIFTERS[config.name].from_config(
        config, level_channels=tuple(level_channels), num_joints=num_joints
    )


def _suggestion(word: str, known: Any) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
