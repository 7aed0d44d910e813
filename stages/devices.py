"""Torch devices by name, for both stages, refused in the words of the configuration."""

from __future__ import annotations

import torch


class DeviceError(ValueError):
    """There is no such device here, or it cannot do what is asked for."""


def use_device(name: str) -> torch.device:
    """Return the device; raises DeviceError if there is none of that name on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"The device {name!r} is none that torch knows. Take cpu, cuda or cuda:N; 'posecache "
            "doctor' lists those of this machine."
        ) from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        raise DeviceError(
            f"The device {name!r} cannot be used here: {reason}. Take another, e.g. --device cpu; "
            "'posecache doctor' lists those of this machine."
        ) from error
    return device
