"""Threads, precision of products and random state for the length of one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
