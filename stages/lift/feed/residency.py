"""Where the maps are held during training and evaluation, and why."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from cache import CacheReader
from stages.lift.config import Residency
from stages.lift.errors import DoesNotFit
from stages.lift.feed.batches import LiftData
from stages.lift.feed.memory import available_host_bytes, free_device_bytes

# What `auto` may take of what is free; the rest is for the lifter's own tensors, and for others.
AUTO_SHARE = 0.5
# What may be taken when it is asked for by name.
ASKED_SHARE = 0.9

Place = Literal["disk", "host", "device"]


@dataclass(frozen=True)
class Placement:
    """Where the maps are."""

    place: Place
    size_bytes: int  # of the levels and views of the splits that are read
    reason: str

    def line(self) -> str:
        """Returns the choice and the sizes as one line of text."""
        return f"maps {_gb(self.size_bytes)} on {self.place}: {self.reason}"


def choose_placement(
    asked: Residency,
    size_bytes: int,
    *,
    device: torch.device,
    passes: int,
    is_local_raw: bool,
    sharers: int = 1,
) -> Placement:
    """Returns where maps of `size_bytes` are to be held.

    Args:
        asked: the setting.
        size_bytes: of all that would be held.
        device: the device of the lifter; where it is the CPU, `device` means `host`.
        passes: how often every map is read.
        is_local_raw: whether the store can be read in any order as fast as memory.
        sharers: processes on this machine that want as much of its memory, each with a GPU of its
            own.

    Raises:
        DoesNotFit: `host` or `device` is asked for and too small.
    """
    has_device = device.type == "cuda"
    if size_bytes == 0:
        return Placement("disk", 0, "the lifter reads none")
    if asked == "disk":
        return Placement("disk", size_bytes, "as asked")
    if asked != "auto":
        place: Place = "device" if asked == "device" and has_device else "host"
        free = free_device_bytes(device) if place == "device" else _host_bytes(sharers)
        if size_bytes > ASKED_SHARE * free:
            raise DoesNotFit(
                f"residency={asked}: the maps take {_gb(size_bytes)}, but of the {_gb(free)} that"
                f" are free {'on ' + str(device) if place == 'device' else 'in memory'} at most"
                f" {_gb(int(ASKED_SHARE * free))} may be used. Set residency=disk, or read fewer"
                " levels (lifter.levels)."
            )
        return Placement(place, size_bytes, f"as asked; {_gb(free)} are free")
    if passes <= 1:
        return Placement("disk", size_bytes, "each is read once")
    if has_device and size_bytes <= AUTO_SHARE * (free := free_device_bytes(device)):
        return Placement("device", size_bytes, f"{_gb(free)} are free on {device}")
    if is_local_raw:
        return Placement("disk", size_bytes, "a local store of raw maps needs no copy in memory")
    free = _host_bytes(sharers)
    if size_bytes <= AUTO_SHARE * free:
        return Placement("host", size_bytes, f"{_gb(free)} of memory are free")
    return Placement("disk", size_bytes, f"too large for the {_gb(free)} of memory that are free")


def place_maps(
    splits: Sequence[LiftData],
    asked: Residency,
    *,
    device: torch.device,
    passes: int,
    report: Callable[[Placement, float], None] | None = None,
) -> Placement:
    """Chooses one place for the maps of the splits, reads them into it, and returns it.

    Where they are read into memory, `report` is told the choice and the fraction so far, first 0.
    Each of several processes chooses for its own maps, as its machine allows: the choice changes
    no value. None begins to read before all have looked at what is free.
    Raises `DoesNotFit` as `choose_placement` does.
    """
    total = sum(data.maps_bytes for data in splits)
    reader, world = splits[0].reader, splits[0].world
    placement = choose_placement(
        asked,
        total,
        device=device,
        passes=passes,
        is_local_raw=is_local_raw(reader),
        sharers=world.local_size,
    )
    world.wait()
    if placement.place == "disk":
        return placement
    held_on = device if placement.place == "device" else torch.device("cpu")
    num_loaded = 0

    def loaded(num_bytes: int) -> None:
        nonlocal num_loaded
        num_loaded += num_bytes
        if report:
            report(placement, num_loaded / total)

    loaded(0)
    for data in splits:
        data.hold_maps(held_on, report=loaded)
    return placement


def is_local_raw(reader: CacheReader) -> bool:
    """Returns whether the store's maps lie in local files as they are in memory."""
    return reader.block_rows == 1 and not any("://" in where for where in reader.locations)


def _host_bytes(sharers: int) -> int:
    return available_host_bytes() // sharers


def _gb(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.3g} GB"
