"""Torch device, threads and random state for the length of one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stages.lift.errors import DeviceError


def use_device(name: str) -> torch.device:
    """Returns the device; raises `DeviceError` if there is none of that name here."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(
            f"The device {name!r} is none that torch knows. Take cpu, cuda or cuda:N; 'posecache"
            " doctor' lists those of this machine."
        ) from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        raise DeviceError(
            f"The device {name!r} cannot be used here: {reason}. Take another, e.g. --device cpu;"
            " 'posecache doctor' lists those of this machine."
        ) from error
    return device


@contextmanager
def torch_settings(threads: int | None, *, tf32: bool = False) -> Iterator[None]:
    """Sets the number of CPU threads and whether a GPU may round the factors of float32 products.

    Both, and the random state, are given back afterwards.
    """
    before = torch.get_num_threads()
    products = torch.get_float32_matmul_precision()
    with torch.random.fork_rng():
        if threads:
            torch.set_num_threads(threads)
        torch.set_float32_matmul_precision("high" if tf32 else "highest")
        try:
            yield
        finally:
            torch.set_num_threads(before)
            torch.set_float32_matmul_precision(products)
