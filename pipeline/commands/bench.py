"""`posecache bench`: the benchmarks of a source checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.console import print_json
from pipeline.errors import USAGE, PipelineError

_ROOT = Path(__file__).parents[2]
ROWS_VARIABLE = "POSECACHE_BENCH_ROWS"
"""Environment variable: the file to which benchmarks add what they show, a JSON object per row."""


def run_bench(names: Sequence[str], *, quick: bool, as_json: bool) -> int:
    """Run the benchmarks named, all if none, and return the exit code.

    With `as_json` their tables go to the standard error, and their rows, with what each measured
    and against what, are printed at the end.

    Raises:
        PipelineError: posecache is installed without its source tree.
    """
    if not (_ROOT / "benchmarks" / "__main__.py").is_file():
        raise PipelineError(
            f"{_ROOT} has no benchmarks: they are part of the source tree, not of the installed "
            "package. Clone the repository and run: make bench."
        )
    command = [sys.executable, "-m", "benchmarks", *(["--quick"] if quick else []), *names]
    if not as_json:
        return subprocess.run(command, cwd=_ROOT, check=False).returncode
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows"
        rows.touch()
        environment = {**os.environ, ROWS_VARIABLE: str(rows)}
        done = subprocess.run(command, cwd=_ROOT, check=False, env=environment, stdout=sys.stderr)
        if done.returncode == USAGE:  # it has said so itself
            return USAGE
        measured = [json.loads(line) for line in rows.read_text("utf-8").splitlines()]
    print_json({"ok": done.returncode == 0, "quick": quick, "rows": measured})
    return done.returncode
