"""How fast a chunk of both views of HRNet-W32 reaches the disk, durably, against numpy and zarr.

Each contender writes the same float16 arrays to new files and returns when they are durable.
`np.save` has one file per array and compares no checksum; the cache checks that all numbers are
finite, writes two checksums per map and commits. zarr writes the same layout and never syncs: its
files are synced here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import zarr

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.made_store import made_chunk, made_plan, made_spec
from cache import CacheWriter, ChunkData
from cache.maps.codecs import array_layout
from cache.storage.files import sync_folder, sync_tree

GOAL = 0.8


def np_save(folder: Path, data: ChunkData) -> None:
    """Every array of the chunk in one file."""
    folder.mkdir()
    arrays = {**data.features, **data.keypoints, "affine": data.crop_affine, "status": data.status}
    for name, values in arrays.items():
        with (folder / f"{name}.npy").open("wb") as file:
            np.save(file, values)
            file.flush()
            os.fsync(file.fileno())
    sync_folder(folder)


def zarr_write(folder: Path, data: ChunkData, layouts: dict[str, Any]) -> None:
    """The feature arrays in the cache's layout, through zarr's own writer."""
    group = zarr.create_group(str(folder))
    for name, values in data.features.items():
        array = group.create_array(name, shape=values.shape, dtype=values.dtype, **layouts[name])
        array[...] = values
    sync_tree(folder)


def measure(folder: Path, repeats: int) -> list[Row]:
    """Rates of durable writing, in MB of maps per second."""
    rows_of_chunk = made_spec(1).shard_rows
    num_chunks = 4 * (repeats + 2)
    spec = made_spec(rows_of_chunk * num_chunks)
    data = made_chunk(spec, spec.chunk_rows(0), np.random.default_rng(0))
    layouts = {level.name: array_layout(spec, level) for level in spec.levels}
    writer = CacheWriter.open(
        folder / "a.zarr",
        spec=spec,
        plan=made_plan(spec.num_rows),
        feature_identity={"made": True},
        content_identity={"made": True},
    )
    chunks, numbers = iter(range(num_chunks)), count()

    def place() -> Path:
        return folder / f"{next(numbers)}"

    times = seconds_of(
        {
            "np.save + fsync": lambda: np_save(place(), data),
            "CacheWriter.write_chunk": lambda: writer.write_chunk(next(chunks), data),
            "zarr + fsync": lambda: zarr_write(place(), data, layouts),
        },
        repeats=repeats,
        before=lambda: _forget(folder, writer),
    )
    return compared(
        f"write a chunk of {rows_of_chunk} rows, durable",
        times,
        amount=sum(values.nbytes for values in data.features.values()) / 1e6,
        unit="MB/s",
        baseline="np.save + fsync",
        goals={"CacheWriter.write_chunk": GOAL},
    )


def _forget(folder: Path, writer: CacheWriter) -> None:
    """Remove what was written and wait for the disk, so that nobody pays for the one before."""
    for each in _written(folder):
        shutil.rmtree(each)
    for chunk in set(range(writer.num_chunks)) - set(writer.missing_chunks()):
        writer.discard_chunk(chunk)
    os.sync()


def _written(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.name.isdigit())


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--folder", type=Path, help="Where to write; the system's if none.")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        rows = measure(Path(folder), repeats=2 if chosen.quick else 9)
    show("writing", rows)
    if not chosen.quick:
        append_rows("cache_write-cpu", rows)


if __name__ == "__main__":
    main()
