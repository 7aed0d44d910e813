"""Which maps of a store a lifter reads, and what samples them."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from cache import CacheReader
from lifter import LIFTERS, build_lifter
from lifter.config import LifterConfig
from lifter.ops import choose_backend
from stages.lift.errors import LiftError
from stages.lift.feed.maps import torch_dtype
from stages.lift.feed.point_caches import require_reads_points
from stages.lift.feed.samples import store_name


def level_names(config: LifterConfig, reader: CacheReader) -> tuple[str, ...]:
    """Returns the maps that this lifter reads, in its order; none if it reads no maps.

    Raises `LiftError` if the configuration names a level that the store does not have, or the store
    is a point cache that the lifter cannot read, and `LifterConfigError` for an unknown lifter.
    """
    if config.name not in LIFTERS:
        build_lifter(config)  # says what is wrong with the name
    if not LIFTERS[config.name].uses_features:
        return ()
    require_reads_points(config, reader)
    present = tuple(reader.levels)
    missing = [name for name in config.levels or () if name not in present]
    if missing:
        raise LiftError(
            f"lifter.levels names {', '.join(missing)}, but {store_name(reader)} has the levels"
            f" {', '.join(present)}. Name some of these, or leave lifter.levels out for all."
        )
    return config.levels or present


def sampling_backend(
    reader: CacheReader, level_names: Sequence[str], device: torch.device
) -> str | None:
    """Returns the backend of deform_sample that serves these maps there; None without maps.

    It is None, too, with a point cache, of which nothing is sampled.

    Backends round sums differently, so every run says which one it had.
    """
    if not level_names or reader.spec.points is not None:
        return None
    maps = [
        torch.empty((0, 1, 1, 1), dtype=torch_dtype(reader, name), device=device)
        for name in level_names
    ]
    return choose_backend(maps, torch.empty((0, 1, 2), device=device))
