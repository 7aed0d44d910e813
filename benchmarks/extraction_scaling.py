"""Extraction of drawn frames by the real command, with one process and with several.

Run: `python -m benchmarks.extraction_scaling [--quick] [--workers N ...] [--chunks N]`. The command
runs whole, so that each figure has the start of its processes in it; `frames/s, running` leaves it
out: chunks per second between the first commits and the last ones. The stores of a run must be
equal byte by byte, or the benchmark fails.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show

CHUNK_ROWS = 64
ROWS_EACH_SUBJECT = 16  # four cameras, four frames
PACKAGES = ("torch", "numpy", "zarr", "distributed")


class Extraction:
    """Extracts the same rows again and again, with a fixed number of processes."""

    def __init__(self, folder: Path, workers: int, num_chunks: int) -> None:
        self._root = folder / f"workers-{workers}"
        self._workers = workers
        self._subjects = num_chunks * CHUNK_ROWS // ROWS_EACH_SUBJECT
        self.digests: set[str] = set()
        self.running: list[float] = []
        """Seconds per frame between the first commits and the last ones, of every call."""

    def __call__(self) -> None:
        """Extract everything anew."""
        pool = f"{{prefix: T, num_subjects: {self._subjects}, clips_each: 1, frames: 4}}"
        sets = (
            f"dataset.options.pools={{train: {pool}}}",
            f"data_root={self._root}",
            f"extract.shard_rows={CHUNK_ROWS}",
            f"extract.workers={self._workers}",
        )
        words = [word for text in sets for word in ("--set", text)]
        command = [sys.executable, "-m", "pipeline", "extract", "--dataset", "synthetic", *words]
        subprocess.run(
            command, check=True, stdout=subprocess.DEVNULL, cwd=Path(__file__).parents[1]
        )
        (store,) = self._root.glob("*.zarr")
        self.digests.add(_digest(store))
        # Every process has begun by the time that as many chunks as processes are there.
        commits = sorted(path.stat().st_mtime for path in (store / "commit").glob("c.*"))
        first = min(self._workers, len(commits) - 1) - 1
        frames = (len(commits) - 1 - first) * CHUNK_ROWS
        self.running.append((commits[-1] - commits[first]) / frames)

    def clear(self) -> None:
        """Remove the store, untimed."""
        shutil.rmtree(self._root, ignore_errors=True)


def _digest(store: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(store.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(store)}\n".encode())
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def _clear(extractions: list[Extraction]) -> Callable[[], None]:
    def clear() -> None:
        for extraction in extractions:
            extraction.clear()

    return clear


def main() -> None:
    """Print and record frames per second by number of processes."""
    parser = arguments(__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--chunks", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=None, help="Where the stores are written.")
    chosen = parser.parse_args()
    num_chunks, repeats = (4, 1) if chosen.quick else (chosen.chunks, chosen.repeats)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        contenders = {
            f"{number} processes" if number > 1 else "1 process": Extraction(
                Path(folder), number, num_chunks
            )
            for number in chosen.workers
        }
        extractions = list(contenders.values())
        times = seconds_of(contenders, repeats=repeats, warm_up=0, before=_clear(extractions))
    if len(set.union(*(each.digests for each in extractions))) != 1:
        raise SystemExit("extraction_scaling: the stores differ, their figures mean nothing")
    baseline = next(iter(contenders))
    num_rows = num_chunks * CHUNK_ROWS
    work = f"extraction of {num_rows} drawn frames, {cores} cores"
    rows: list[Row] = compared(
        f"{work}, whole command", times, amount=num_rows, unit="frames/s", baseline=baseline
    )
    rows += compared(
        f"{work}, running",
        {name: each.running for name, each in contenders.items()},
        amount=1,
        unit="frames/s",
        baseline=baseline,
    )
    show("Extraction by several processes; all stores equal", rows)
    seconds = {name: statistics.median(times[name]) for name in times}
    print("  ".join(f"{name}: {value:.1f} s" for name, value in seconds.items()))
    if not chosen.quick:
        append_rows("extraction_scaling-cpu", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
