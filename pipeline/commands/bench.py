"""`posecache bench`: the benchmarks of a source checkout."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import PipelineError

_ROOT = Path(__file__).parents[2]


def run_bench(names: Sequence[str], *, quick: bool) -> int:
    """Run the benchmarks named, all if none, and return the exit code.

    Raises:
        PipelineError: posecache is installed without its source tree.
    """
    if not (_ROOT / "benchmarks" / "__main__.py").is_file():
        raise PipelineError(
            f"{_ROOT} has no benchmarks: they are part of the source tree, not of the installed "
            "package. Clone the repository and run: make bench."
        )
    command = [sys.executable, "-m", "benchmarks", *(["--quick"] if quick else []), *names]
    return subprocess.run(command, cwd=_ROOT, check=False).returncode
