"""What opening and resuming a store costs at 100,000 chunks.

The store is simulated: a real plan and real metadata, empty files in place of chunks, every second
one committed. 1.6 million rows is Human3.6M at 50 frames per second in chunks of 16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Row, append_rows, arguments, seconds_of, show
from benchmarks.made_store import made_plan
from cache import CacheReader, CacheSpec, CacheWriter, LevelSpec
from cache.schema import COMMIT, chunk_arrays, chunk_key

NUM_CHUNKS, SHARD_ROWS = 100_000, 16
GOAL_S = 2.0
_LEVELS = tuple(LevelSpec(name, 1, 1, 1, 1) for name in ("x4", "x8", "x16", "x32"))


def simulate(folder: Path, num_chunks: int) -> Callable[[], CacheWriter]:
    """Make the store, and return what opens it for writing."""
    spec = CacheSpec(
        num_rows=num_chunks * SHARD_ROWS,
        levels=_LEVELS,
        skeleton="H36M17",
        crop_size=(256, 192),
        shard_rows=SHARD_ROWS,
    )
    plan = made_plan(spec.num_rows)

    def opened() -> CacheWriter:
        return CacheWriter.open(
            folder, spec=spec, plan=plan, feature_identity={"a": 1}, content_identity={"a": 1}
        )

    opened()
    arrays = {name: len(shape) + 1 for name, (shape, _) in chunk_arrays(spec, "H36M17").items()}
    for name, num_axes in {**arrays, COMMIT: 1}.items():
        for chunk in range(0, num_chunks, 2):
            (folder / name / chunk_key(chunk, num_axes)).touch()
    return opened


def measure(folder: Path, num_chunks: int, repeats: int) -> list[Row]:
    """Seconds of opening, resuming and asking."""
    opened = simulate(folder, num_chunks)
    reader = CacheReader(folder, allow_incomplete=True)
    contenders: dict[str, Callable[[], object]] = {
        "open for reading, list the commits": lambda: CacheReader(folder, allow_incomplete=True),
        "resume: check the plan, sweep, list": lambda: opened().missing_chunks(),
        "list the commits": reader.committed,
    }
    rows = []
    for name, seconds in seconds_of(contenders, repeats=repeats).items():
        median = sorted(seconds)[len(seconds) // 2]
        rows.append(
            Row(
                work=f"{num_chunks:,} chunks, {num_chunks * SHARD_ROWS:,} rows",
                contender=name,
                value=median,
                unit="s",
                ratio=GOAL_S / median,
                baseline=f"{GOAL_S:g} s",
                goal=1.0,
                spread=(max(seconds) - min(seconds)) / median,
            )
        )
    return rows


def main() -> None:
    parser = arguments(__doc__)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(
            Path(folder) / "a.zarr",
            5_000 if chosen.quick else NUM_CHUNKS,
            repeats=3 if chosen.quick else 5,
        )
    show("commit ledger", rows)
    if not chosen.quick:
        append_rows("ledger-cpu", rows)


if __name__ == "__main__":
    main()
