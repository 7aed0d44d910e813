"""A real S3 server on loopback, in this process, with one bucket."""

from __future__ import annotations

import logging
import urllib.request
from collections.abc import Iterator

import pytest

BUCKET = "caches"


@pytest.fixture(scope="session")
def object_server() -> Iterator[str]:
    """Address of the server; skips where moto is not installed."""
    pytest.importorskip("obstore", reason="obstore (extra `s3`) is not installed")
    moto = pytest.importorskip("moto.server", reason="moto (extra `dev`) is not installed")
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    # Nothing else answers on this port.
    request = urllib.request.Request(f"{address}/{BUCKET}", method="PUT")
    with urllib.request.urlopen(request) as answer:
        assert answer.status == 200
    yield address
    server.stop()


@pytest.fixture
def bucket(
    object_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> str:
    """URL of an empty folder on the server, which the environment names for child processes too."""
    for name, value in {
        "AWS_ENDPOINT_URL": object_server,
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "someone",
        "AWS_SECRET_ACCESS_KEY": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    return f"s3://{BUCKET}/{request.node.name.translate(str.maketrans('[]/:', '----'))}"
