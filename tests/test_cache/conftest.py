from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="package", autouse=True)
def _no_sync() -> Iterator[None]:
    """Killed processes lose nothing that was not synced, only power cuts do: skip the slow part."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield
