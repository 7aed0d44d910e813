"""A scheduler and a worker as processes of their own, joined over TCP; a dataset; a store."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client

from stages.extract.chunks import extract
from stages.extract.datasets.human36m.mmpose import Human36m
from tests.test_cache.factory import store_bytes
from tests.test_extract.studio import DotDetector, write_layout
from tests.test_scaling.clusters import CONFIG, CROP, ended, started


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    write_layout(tmp_path / "tiny")
    return tmp_path / "tiny"


@pytest.fixture
def serial(layout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """Files of the store that one process writes."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", lambda _: None)  # nothing here cuts the power
        extract(Human36m(layout), DotDetector(), CROP, tmp_path / "serial.zarr", CONFIG)
    return store_bytes(tmp_path / "serial.zarr")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A scheduler in a process of its own, without workers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    process = started("-m", "distributed.cli.dask_scheduler", *words)
    yield f"tcp://127.0.0.1:{port}"
    ended(process)


@pytest.fixture(scope="module")
def cluster(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The scheduler with one worker, in a third process."""
    scratch = str(tmp_path_factory.mktemp("worker"))
    words = ("--nworkers", "1", "--nthreads", "1", "--no-dashboard", "--local-directory", scratch)
    process = started("-m", "distributed.cli.dask_worker", address, *words)
    with Client(address) as client:
        client.wait_for_workers(1, timeout=60)
    yield address
    ended(process)
