"""Triton's kernels without a GPU: interpreted on the CPU, and compiled for a GPU that is not here.

Both need a process of their own: whether Triton interprets is decided when it is imported.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from lifter.errors import BackendMissing
from lifter.ops import choose_backend, gpu
from tests.test_lifter.sampling import random_inputs

HERE = Path(__file__).parent
needs_triton = pytest.mark.skipif(
    not gpu.INSTALLED, reason="Triton is not installed (make test-triton installs it)"
)


def run_alone(*command: str, interpreted: bool) -> str:
    """Output of a Python process; fails with it if the process does."""
    environment = {key: each for key, each in os.environ.items() if not key.startswith("PYTEST")}
    environment["TRITON_INTERPRET"] = "1" if interpreted else "0"
    done = subprocess.run(
        [sys.executable, *command],
        cwd=HERE.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    return done.stdout


@needs_triton
def test_interpreted_kernels_do_what_the_reference_does() -> None:
    checks = str(HERE / "triton_checks.py")
    said = run_alone("-m", "pytest", "-q", "-p", "no:cacheprovider", checks, interpreted=True)
    found = re.search(r"(\d+) passed", said)
    assert found
    assert int(found[1]) >= 20
    assert "skipped" not in said


@needs_triton
def test_a_check_that_fails_fails_the_process(tmp_path: Path) -> None:
    planted = tmp_path / "planted.py"
    planted.write_text("def test_planted():\n    assert False\n")
    with pytest.raises(AssertionError, match="1 failed"):
        run_alone("-m", "pytest", "-q", "-p", "no:cacheprovider", str(planted), interpreted=True)


@needs_triton
@pytest.mark.slow
def test_kernels_compile_for_a_gpu_that_is_not_here() -> None:
    said = run_alone("-m", "tests.test_lifter.triton_compile", interpreted=False)
    assert said.count("sm_90") == 8


def test_auto_leaves_cpu_tensors_to_others() -> None:
    inputs = random_inputs()
    assert choose_backend(inputs.levels, inputs.reference_points) in ("cpu", "reference")


@pytest.mark.skipif(gpu.INTERPRETED, reason="needs a process that does not interpret Triton")
def test_cpu_tensors_are_refused_by_name_outside_of_the_interpreter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inputs = random_inputs()
    monkeypatch.setattr(gpu, "INSTALLED", True)
    with pytest.raises(BackendMissing, match=r"on a CUDA device .* TRITON_INTERPRET=1"):
        choose_backend(inputs.levels, inputs.reference_points, "triton")


@pytest.mark.parametrize(("version", "said"), [(None, "none"), ((3, 3), r"3\.3")])
def test_without_triton_or_with_an_old_one_the_message_names_what_to_install(
    monkeypatch: pytest.MonkeyPatch, version: tuple[int, int] | None, said: str
) -> None:
    inputs = random_inputs()
    monkeypatch.setattr(gpu, "INSTALLED", False)
    monkeypatch.setattr(gpu, "VERSION", version)
    wanted = rf"'triton' backend needs Triton 3\.4 or newer, found {said}\. .*posecache\[triton\]"
    with pytest.raises(BackendMissing, match=wanted):
        choose_backend(inputs.levels, inputs.reference_points, "triton")


def test_tiles_are_powers_of_two_that_cover_the_channels_and_fill_the_threads() -> None:
    for channels in (0, 1, 3, 16, 17, 32, 48, 96, 133, 255, 256, 384, 2048):
        for dtype in (torch.uint8, torch.float16, torch.float32):
            rows, wide = gpu._tile(torch.empty(1, 1, 1, channels, dtype=dtype), 8)
            assert rows & (rows - 1) == 0
            assert wide & (wide - 1) == 0
            assert rows * wide == 128 * 8
            assert 16 <= wide <= 256
            if channels % 32 == 0 and channels:
                assert channels % wide == 0
