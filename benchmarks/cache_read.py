"""Reading maps from a store, warm and cold, against what else could hold the same bytes.

Run: `python -m benchmarks.cache_read [--quick] [--size-gb G] [--folder DIR] [--queue-depth N]`. The
folder holds a store and three copies of its maps (`.npy` per level, `.npy` per shard, HDF5) while
it runs. Warm: everything lies in memory and is mapped. Cold: the pages of all shards are dropped,
which `mincore` confirms, before every call; the indexes of the shards are known.
"""

from __future__ import annotations

import ctypes
import gc
import importlib.util
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray

from benchmarks.harness import Row, append_rows, arguments, compared, seconds_of, show
from benchmarks.made_store import LEVELS, ROW_BYTES, write_made_store
from cache import CacheReader
from cache.part import StorePart
from cache.storage import open_storage

Maps = dict[str, NDArray[Any]]
MAP_BYTES = ROW_BYTES // 2
PACKAGES = ("numpy", "zarr", "tensorstore", "h5py")


class Orders:
    """Rows and views to read, other ones at every call, the same ones for all contenders."""

    def __init__(self, num_rows: int, batch: int, kind: str) -> None:
        rng = np.random.default_rng(0)
        if kind == "shuffled":
            self._batches = [rng.integers(0, num_rows, batch) for _ in range(16)]
        else:
            starts = rng.integers(0, num_rows - batch, 16)
            self._batches = [np.arange(start, start + batch) for start in starts]
        self._views = [rng.integers(0, 2, batch) for _ in range(16)]
        self._turns: dict[str, int] = {}

    def next(self, contender: str) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Rows and views of the contender's next call."""
        turn = self._turns.get(contender, 0)
        self._turns[contender] = turn + 1
        return self._batches[turn % 16], self._views[turn % 16]


class Copies:
    """The store, and the same maps in other files."""

    def __init__(self, store: Path, folder: Path) -> None:
        self.store = store
        self.reader = CacheReader(store)
        num_rows = len(self.reader)
        self.shard_rows = self.reader.spec.shard_rows
        self.whole: dict[str, NDArray[Any]] = {}
        self.sharded: dict[str, list[NDArray[Any]]] = {}
        self.hdf5: Any = None
        if importlib.util.find_spec("h5py") is not None:
            import h5py

            self.hdf5 = h5py.File(folder / "maps.h5", "w")
        for level in LEVELS:
            self._copy(folder, level.name, num_rows)

    def _copy(self, folder: Path, name: str, num_rows: int) -> None:
        shape = self.reader.levels[name].map_shape
        whole = np.lib.format.open_memmap(
            folder / f"{name}.npy", "w+", np.float16, (num_rows, 2, *shape)
        )
        dataset = self.hdf5 and self.hdf5.create_dataset(
            name, (num_rows, 2, *shape), np.float16, chunks=(1, 1, *shape)
        )
        shards = []
        for start in range(0, num_rows, self.shard_rows):
            rows = np.arange(start, min(start + self.shard_rows, num_rows))
            maps = np.stack(
                [self.reader.read(rows, levels=[name], view=v)[name] for v in (0, 1)], 1
            )
            whole[rows] = maps
            if dataset is not None:
                dataset[rows[0] : rows[-1] + 1] = maps
            path = folder / f"{name}.{start}.npy"
            np.save(path, maps)
            shards.append(np.load(path, mmap_mode="r"))
        whole.flush()
        self.whole[name] = np.load(folder / f"{name}.npy", mmap_mode="r")
        self.sharded[name] = shards

    def touch(self) -> None:
        """Bring every page of every map into memory and into this process."""
        for array in (*self.whole.values(), *(s for all_ in self.sharded.values() for s in all_)):
            array.reshape(-1)[:: mmap.PAGESIZE // 2].max()
        for view in (0, 1, 0, 1):
            for start in range(0, len(self.reader), 256):
                self.reader.read(range(start, min(start + 256, len(self.reader))), view=view)


def buffers(batch: int) -> Maps:
    """Arrays of a batch, their pages in place."""
    return {level.name: np.zeros((batch, *level.map_shape), np.float16) for level in LEVELS}


def warm_contenders(
    copies: Copies, orders: Orders, batch: int
) -> dict[str, dict[str, Callable[[], object]]]:
    """Everyone who can gather a batch in no time, by what they fill; the baseline comes first."""
    out = buffers(batch)
    flat = {name: maps.reshape(-1, *maps.shape[2:]) for name, maps in copies.whole.items()}

    def fancy() -> Maps:
        rows, views = orders.next("fancy")
        return {name: maps[rows, views] for name, maps in copies.whole.items()}

    def take() -> Maps:
        rows, views = orders.next("take")
        places = rows * 2 + views
        for name, maps in flat.items():  # any other mode copies through one more buffer
            np.take(maps, places, axis=0, out=out[name], mode="clip")
        return out

    def many() -> Maps:
        rows, views = orders.next("many")
        chunks, places = np.divmod(rows, copies.shard_rows)
        for chunk in np.unique(chunks).tolist():
            members = np.flatnonzero(chunks == chunk)
            for name, shards in copies.sharded.items():
                out[name][members] = shards[chunk][places[members], views[members]]
        return out

    def ours() -> Maps:
        rows, views = orders.next("ours")
        return copies.reader.read(rows, view=views, out=out)

    def ours_new() -> Maps:
        rows, views = orders.next("ours_new")
        return copies.reader.read(rows, view=views)

    return {
        "new arrays": {"np.memmap": fancy, "posecache": ours_new},
        "buffers": {"np.memmap, np.take": take, "np.memmap per shard": many, "posecache": ours},
    }


def slow_contenders(copies: Copies, orders: Orders) -> dict[str, Callable[[], object]]:
    """Peers that read chunk by chunk."""
    group: Any = zarr.open_group(str(copies.store), mode="r")
    arrays = {level.name: group[f"features/{level.name}"] for level in LEVELS}

    def oindex() -> Maps:
        rows, _ = orders.next("zarr")
        return {name: array.oindex[rows, 0] for name, array in arrays.items()}

    def ours() -> Maps:
        rows, _ = orders.next("ours, one view")
        return copies.reader.read(rows)

    ways: dict[str, Callable[[], object]] = {"zarr oindex": oindex, "posecache": ours}
    if copies.hdf5 is not None:

        def hdf5() -> Maps:
            rows, _ = orders.next("h5py")
            return {
                level.name: np.stack([copies.hdf5[level.name][row, 0] for row in rows])
                for level in LEVELS
            }

        ways["h5py, row by row"] = hdf5
    if importlib.util.find_spec("tensorstore") is not None:
        ways["tensorstore"] = _tensorstore(copies, orders)
    return ways


def _tensorstore(copies: Copies, orders: Orders) -> Callable[[], object]:
    import tensorstore as ts

    arrays = {
        level.name: ts.open(
            {
                "driver": "zarr3",
                "kvstore": {
                    "driver": "file",
                    "path": str(copies.store / "features" / level.name) + "/",
                },
            }
        ).result()
        for level in LEVELS
    }

    def read() -> list[Any]:
        rows, _ = orders.next("tensorstore")
        pending = [array[row, 0].read() for array in arrays.values() for row in rows.tolist()]
        return [future.result() for future in pending]

    return read


class Shards:
    """The shard files of a store, read by threads that know where the maps lie."""

    def __init__(self, store: Path, num_chunks: int, queue_depth: int) -> None:
        part = StorePart(open_storage(store))
        self._shard_rows = part.spec.shard_rows
        self._pool = ThreadPoolExecutor(queue_depth)
        self._files: dict[tuple[str, int], int] = {}
        self._offsets: dict[tuple[str, int], list[int]] = {}
        for level in LEVELS:
            for chunk in range(num_chunks):
                path = store / "features" / level.name / f"c.{chunk}.0.0.0.0"
                self._files[level.name, chunk] = os.open(path, os.O_RDONLY)
                self._offsets[level.name, chunk] = part.read_shard(level, chunk)[1]

    def drop(self) -> None:
        """Take the pages of all shards out of memory."""
        for file in self._files.values():
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)

    def resident(self) -> float:
        """Share of the pages that are in memory."""
        found = [_resident_pages(file) for file in self._files.values()]
        return sum(here for here, _ in found) / sum(pages for _, pages in found)

    def read(self, rows: NDArray[np.intp], views: NDArray[np.intp], out: Mapping[str, Any]) -> None:
        """`preadv` of every map into its place, in parallel."""
        jobs = []
        chunks, places = np.divmod(rows, self._shard_rows)
        for name, array in out.items():
            target, size = array.reshape(-1).view(np.uint8).data, array[0].nbytes
            for i, (chunk, slot) in enumerate(
                zip(chunks.tolist(), (places * 2 + views).tolist(), strict=True)
            ):
                offset = self._offsets[name, chunk][slot]
                part = target[i * size : (i + 1) * size]
                jobs.append((self._files[name, chunk], [part], offset))
        for _ in self._pool.map(lambda job: os.preadv(*job), jobs):
            pass


def _resident_pages(file: int) -> tuple[int, int]:
    size = os.fstat(file).st_size
    pages = -(-size // mmap.PAGESIZE)
    with mmap.mmap(file, 0, prot=mmap.PROT_READ) as mapped:
        array = np.frombuffer(mapped, dtype=np.uint8)
        found = np.zeros(pages, dtype=np.uint8)
        ctypes.CDLL(None).mincore(
            ctypes.c_void_p(array.ctypes.data),
            ctypes.c_size_t(size),
            ctypes.c_void_p(found.ctypes.data),
        )
        del array
    return int((found & 1).sum()), pages


def warm_rows(copies: Copies, batches: Sequence[int], repeats: int) -> list[Row]:
    """Gathers from memory; each way of receiving a batch against np.memmap's same way."""
    copies.touch()
    rows = []
    for kind in ("shuffled", "sequential"):
        for batch in batches if kind == "shuffled" else batches[-2:-1]:
            orders = Orders(len(copies.reader), batch, kind)
            for into, ways in warm_contenders(copies, orders, batch).items():
                rows += compared(
                    f"{kind}, warm, B={batch}, into {into}",
                    seconds_of(ways, repeats=repeats, warm_up=3),
                    amount=batch * MAP_BYTES / 1e9,
                    unit="GB/s",
                    baseline=next(iter(ways)),
                    goals={"posecache": 0.8},
                )
    return rows


def peer_rows(copies: Copies, batch: int) -> list[Row]:
    """Gathers from memory, one view, against zarr's own."""
    ways = slow_contenders(copies, Orders(len(copies.reader), batch, "shuffled"))
    return compared(
        f"shuffled, warm, one view, B={batch}",
        seconds_of(ways, repeats=3),
        amount=batch,
        unit="frames/s",
        baseline="zarr oindex",
        goals={"posecache": 50.0},
        absent=[name for name in ("h5py", "tensorstore") if importlib.util.find_spec(name) is None],
    )


def cold_rows(store: Path, batches: Sequence[int], repeats: int, queue_depth: int) -> list[Row]:
    """Gathers with all pages dropped, against threads that read the same rows."""
    reader = CacheReader(store, queue_depth=queue_depth)
    spec, rows = reader.spec, []
    shards = Shards(store, spec.num_chunks, queue_depth)
    os.sync()
    shards.drop()
    reader.read(range(0, len(reader), spec.shard_rows))  # learns where the maps lie, maps no page
    for batch in batches:
        orders, out, resident = Orders(len(reader), batch, "shuffled"), buffers(batch), [0.0]

        def drop(resident: list[float] = resident) -> None:
            shards.drop()
            resident.append(shards.resident())

        times = seconds_of(
            {
                f"pread in {queue_depth} threads": lambda orders=orders, out=out: shards.read(
                    *orders.next("pread"), out
                ),
                "posecache into buffers": lambda orders=orders, out=out: reader.read(
                    (order := orders.next("ours"))[0], view=order[1], out=out
                ),
            },
            repeats=repeats,
            before=drop,
        )
        rows += compared(
            f"shuffled, cold, B={batch} ({100 * max(resident):.1f} % resident at most)",
            times,
            amount=batch * MAP_BYTES / 1e9,
            unit="GB/s",
            baseline=f"pread in {queue_depth} threads",
            goals={"posecache into buffers": 0.8},
        )
    return rows


def descriptor_rows(store: Path) -> list[Row]:
    """Descriptors that a reader holds after reading every shard."""
    reader = CacheReader(store)
    spec = reader.spec
    reader.read(range(0, len(reader), spec.shard_rows))
    links = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
    held = sum(str(path.resolve()).startswith(str(store.resolve())) for path in links)
    work = f"descriptors held, {len(spec.levels) * spec.num_chunks} shard files"
    return [Row(work, "posecache", held, "files")]


def main() -> None:
    """Print and record the rows."""
    parser = arguments(__doc__)
    parser.add_argument("--size-gb", type=float, help="Bytes of the store; default 1.5, quick 0.2.")
    parser.add_argument("--folder", type=Path, help="For the temporary files.")
    parser.add_argument("--queue-depth", type=int, default=16)
    chosen = parser.parse_args()
    num_rows = int((chosen.size_gb or (0.2 if chosen.quick else 1.5)) * 1e9 / ROW_BYTES)
    batches, repeats = ((32, 128), 7) if chosen.quick else ((32, 128, 512), 25)
    folder = Path(tempfile.mkdtemp(dir=chosen.folder, prefix="cache-read-"))
    try:
        store = write_made_store(folder / "made.zarr", num_rows)
        # First: pages that a process has mapped cannot be dropped.
        held = descriptor_rows(store)
        gc.collect()
        cold = cold_rows(store, batches, repeats, chosen.queue_depth)
        copies = Copies(store, folder)
        rows = warm_rows(copies, batches, repeats) + peer_rows(copies, 32) + cold + held
    finally:
        shutil.rmtree(folder)
    show(f"Reading a store of {num_rows * ROW_BYTES / 1e9:.2f} GB", rows)
    if not chosen.quick:
        append_rows("cache_read-cpu", rows, packages=PACKAGES)


if __name__ == "__main__":
    main()
