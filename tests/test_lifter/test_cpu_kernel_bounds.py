"""The compiled kernel reads and writes nothing beyond its tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lifter.ops import cpu

pytestmark = pytest.mark.skipif(
    not cpu.is_built() or sys.platform != "linux",
    reason="needs the C kernel, and Linux for pages without access",
)


def test_nothing_beyond_a_tensor_is_touched() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.test_lifter.guarded_memory"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    assert done.stdout.splitlines()[-1] == "a trespass is noticed"
