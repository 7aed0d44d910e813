"""Run benchmarks one after the other: `python -m benchmarks [--quick] [NAME ...]`; all if none."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = tuple(
    sorted(
        path.stem
        for path in Path(__file__).parent.glob("[a-z]*.py")
        if path.stem != "harness" and "\ndef main(" in path.read_text()
    )
)
"""A benchmark is a module with a `main`."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    parser.add_argument("--quick", action="store_true", help="Small sizes; writes no result file.")
    chosen = parser.parse_args()
    unknown = sorted(set(chosen.names) - set(NAMES))
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(NAMES)}", file=sys.stderr)
        return 2
    failed = []
    for name in chosen.names or NAMES:
        # Each in a process of its own: one benchmark's threads and memory must not be another's.
        command = [
            sys.executable,
            "-m",
            f"benchmarks.{name}",
            *(["--quick"] if chosen.quick else []),
        ]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
