"""How fast a finished store is written again in another precision or codec, against a plain copy.

Run: `python -m benchmarks.recode [--quick] [--store STORE] [--rows N] [--folder DIR]`. The store
is made up in the sizes of HRNet-W32 (float16, both views, half of the numbers zero) unless one is
given; compressed sizes say something of a real store only. All rates are MB of the source's maps
per second. The copy takes every file of the store as it is and syncs it. A recode is durable too,
and besides converting it checks the source's checksums, computes those of the target, reads every
chunk back and compares it; 8 bits read the source twice, because the scales come first.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.made_store import write_made_store
from cache import CacheReader
from cache.derived.recode import RecodeReport, recode
from cache.schema import map_bytes
from cache.storage import open_storage
from cache.storage.files import sync_folder

BASELINE = "copy + fsync"
TARGETS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "to float32": {"dtype": "float32"},
    "to uint8": {"dtype": "uint8"},
    "to zstd": {"codec": "zstd"},
    "to zstd, 8 rows together": {"codec": "zstd", "inner_rows": 8},
    "to blosc": {"codec": "blosc"},
    "to uint8 and zstd": {"dtype": "uint8", "codec": "zstd"},
}
PACKAGES = ("numpy", "zarr", "numcodecs")


def copy_store(source: Path, target: Path) -> None:
    """Copy every file and make it durable, folders included."""
    for folder, _, names in os.walk(source):
        copied = target / Path(folder).relative_to(source)
        copied.mkdir(parents=True)
        for name in names:
            shutil.copyfile(Path(folder) / name, copied / name)
            descriptor = os.open(copied / name, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
        sync_folder(copied)


class Recoding:
    """Recodes the same store to the same place, again and again."""

    def __init__(self, source: Path, target: Path, settings: dict[str, Any]) -> None:
        self._source, self._target, self._settings = source, target, settings
        self.size_bytes = 0
        self.report: RecodeReport | None = None

    def __call__(self) -> None:
        """Recode into an empty folder."""
        self.report = recode(self._source, self._target, **self._settings)
        self.size_bytes = open_storage(self._target).size_bytes()


def measure(source: Path, folder: Path, *, repeats: int) -> list[Row]:
    """Rates, sizes and losses of every target."""
    target, spec = folder / "target.zarr", CacheReader(source).spec
    recodings = {name: Recoding(source, target, settings) for name, settings in TARGETS.items()}
    contenders: dict[str, Callable[[], object]] = {
        BASELINE: lambda: copy_store(source, target),
        **recodings,
    }
    times = seconds_of(
        contenders, repeats=repeats, before=lambda: shutil.rmtree(target, ignore_errors=True)
    )
    row_bytes = sum(map_bytes(level, spec.dtype) for level in spec.levels) * spec.num_views
    name = CacheReader(source).name
    rows = compared(
        f"recode {name}, {spec.level_dtype(spec.levels[0]).name} {spec.codec}",
        times,
        amount=row_bytes * spec.num_rows / 1e6,
        unit="MB/s",
        baseline=BASELINE,
    )
    before = open_storage(source).size_bytes()
    for contender, recoding in recodings.items():
        share = recoding.size_bytes / before
        rows.append(Row(f"size of {name}", contender, 100 * share, "% of the source"))
        errors = recoding.report.errors if recoding.report else {}
        if decibels := [error.sqnr_db for error in errors.values() if error.sqnr_db is not None]:
            rows.append(Row(f"worst level of {name}", contender, min(decibels), "dB SQNR"))
    return rows


def main() -> None:
    """Print and record one row per target."""
    parser = arguments(__doc__)
    parser.add_argument("--store", type=Path, help="A finished store instead of a made-up one.")
    parser.add_argument("--rows", type=int, help="Of the made-up store; default 512, quick 128.")
    parser.add_argument("--folder", type=Path, help="For the temporary files.")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(dir=chosen.folder, prefix="recode-"))
    try:
        num_rows = chosen.rows or (128 if chosen.quick else 512)
        source = chosen.store or write_made_store(folder / "made.zarr", num_rows)
        rows = measure(source, folder, repeats=1 if chosen.quick else 5)
    finally:
        shutil.rmtree(folder)
    show(f"Recoding of {source.name} by {os.cpu_count()} threads", rows)
    if not chosen.quick:
        append_rows("recode-cpu", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
