"""Lifters by name."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from lifter import models
from lifter.config import LifterConfig
from lifter.errors import LifterConfigError
from lifter.models.base import Lifter
from lifter.uncertainty import with_scale
from lifter.words import suggestion


def _lifters() -> Iterator[type[Lifter]]:
    """Yields the lifters in the files of `lifter.models`: each class there that has a name."""
    for found in pkgutil.iter_modules(models.__path__):
        module = importlib.import_module(f"{models.__name__}.{found.name}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Lifter) and "name" in vars(value):
                yield value


LIFTERS: Mapping[str, type[Lifter]] = MappingProxyType({one.name: one for one in _lifters()})


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
            f"{suggestion(unknown[0], LifterConfig.model_fields)}. "
            f"They have: {', '.join(LifterConfig.model_fields)}."
        )
    try:
        config = LifterConfig(**{**fields, **options})
    except ValidationError as error:
        raise LifterConfigError(f"This lifter cannot be built: {error}") from error
    if config.name not in LIFTERS:
        raise LifterConfigError(
            f"There is no lifter {config.name!r}{suggestion(config.name, LIFTERS)}. "
            f"Lifters: {', '.join(LIFTERS)}."
        )
    kind = LIFTERS[config.name]
    return (with_scale(kind) if config.uncertainty else kind).from_config(
        config, level_channels=tuple(level_channels), num_joints=num_joints
    )
