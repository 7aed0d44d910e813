"""Dies at every step of making a small store, and looks at what a reader and the next run find.

A process of its own: children are forked from it before zarr has started any thread. Each child is
killed with SIGKILL right before its n-th change of a file, for every n.

    python -m tests.test_reliability.crash_points FOLDER [--without GUARD] [--stride N]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cache import CacheIncomplete, CacheReader, verify
from cache.storage.files import TEMPORARY_PREFIX
from pipeline.cli import main as main_of_pipeline
from tests.test_cache.factory import (
    make_chunk,
    make_spec,
    open_writer,
    store_bytes,
    write_store,
)
from tests.test_reliability.command import STORE
from tests.test_reliability.command import command as extract_command
from tests.test_reliability.guards import GUARDS

SPEC = make_spec(8)  # two chunks
PRELOADED = (
    "pipeline.commands.extract",
    "stages.extract.datasets.synthetic",
    "stages.extract.detectors",
    "torch.nn.functional",
)
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link"}


def steps_below(folder: Path, act: Callable[[str], None]) -> None:
    """Call `act` right before each change below a folder that this process makes."""
    prefix = str(folder)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, mode, flags = arguments
            writes = bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) or "w" in (mode or "")
            if writes and str(path).startswith(prefix):
                act(f"open {path}")
        elif event in _CHANGES and str(arguments[0]).startswith(prefix):
            act(f"{event} {arguments[0]}")
        elif event == "fcntl.flock":
            act(event)

    sync = os.fsync

    def fsync(descriptor: int) -> None:
        act(f"fsync {os.readlink(f'/proc/self/fd/{descriptor}')}")
        sync(descriptor)

    os.fsync = fsync
    sys.addaudithook(hook)


def die_before(step: int) -> Callable[[str], None]:
    """An `act` that kills this process at its `step`-th call."""
    steps = count(1)

    def act(_: str) -> None:
        if next(steps) == step:
            os.kill(os.getpid(), signal.SIGKILL)

    return act


def create(path: Path) -> None:
    """Make a store."""
    open_writer(path, SPEC)


def fill(path: Path) -> None:
    """Write all chunks, take one back and write it again."""
    write_store(path, SPEC)
    writer = open_writer(path, SPEC)
    writer.discard_chunk(0)
    writer.write_chunk(0, make_chunk(SPEC, writer.chunk_rows(0)))


def finish(path: Path) -> None:
    """Write what is missing."""
    write_store(path, SPEC)


def command(path: Path) -> None:
    """Run the whole command in this process; what it imports is there already."""
    sys.argv = ["posecache", *extract_command(path.parent)[3:]]
    sys.stdout = sys.stderr
    try:
        main_of_pipeline()
    except SystemExit as end:
        if end.code:
            raise


LIVES = {"create": (create, finish), "fill": (fill, finish), "command": (command, command)}


def in_child(action: Callable[[], object]) -> int:
    """Exit status of a forked child: 0, or minus the signal."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def look(path: Path, expected: dict[str, bytes]) -> None:
    """Refuse anything but whole committed chunks in what a reader sees."""
    if not path.exists():
        return
    report = verify(path)
    assert not report.bad, report.bad
    reader = CacheReader(path, allow_incomplete=True)
    rows = np.flatnonzero(reader.committed())
    for view in range(reader.spec.num_views):
        reader.read(rows, view=view)
    stored = store_bytes(path)
    for chunk in np.unique(rows // reader.spec.shard_rows).tolist():
        files = [key for key in expected if key.split("/")[-1].split(".")[:2] == ["c", str(chunk)]]
        assert len(files) > 5
        for key in files:
            assert stored[key] == expected[key], key
    for row in np.setdiff1d(np.arange(len(reader)), rows):
        try:
            reader.read([row])
        except CacheIncomplete:
            continue
        raise AssertionError(f"row {row} is not committed, but was read")


def leftovers(folder: Path) -> list[str]:
    """Files and folders of killed writers."""
    return [str(path) for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


class Ground:
    """A folder in which stores live and die.

    Args:
        folder: empty.
        life: what is done to a store; `fill` begins with one that has no chunks.
    """

    def __init__(self, folder: Path, life: str) -> None:
        self._folder = folder
        self._life, self._finish = LIVES[life]
        self._empty = folder / "empty.zarr" if life == "fill" else None
        if self._empty is not None:
            assert in_child(lambda: create(folder / "empty.zarr")) == 0
        calm = folder / "calm" / STORE
        calm.parent.mkdir()
        assert in_child(lambda: self._finish(calm)) == 0
        self._expected = store_bytes(calm)

    def _look_and_finish(self, path: Path) -> None:
        """What the next process does."""
        look(path, self._expected)
        self._finish(path)

    def kill(self, name: str, prepare: Callable[[Path], None]) -> tuple[bool, list[str]]:
        """Whether the child was killed, and what is wrong after it and after the next run."""
        place = self._folder / name
        path = place / STORE
        place.mkdir()
        if self._empty is not None:
            shutil.copytree(self._empty, path)
        died = in_child(lambda: (prepare(place), self._life(path))) < 0
        found = []
        if in_child(lambda: self._look_and_finish(path)) != 0:
            found.append("the next run fails")
        elif store_bytes(path) != self._expected:
            found.append("the bytes are others")
        if leftovers(place):
            found.append(f"left over: {leftovers(place)}")
        shutil.rmtree(place)
        return died, found


def crash_at_steps(ground: Ground, stride: int) -> Iterator[tuple[str, list[str]]]:
    """Crash points, at every `stride`-th step, and what was wrong after each."""
    died, step = True, 1
    while died:
        act = die_before(step)
        died, found = ground.kill(f"step-{step}", lambda place: steps_below(place, act))  # noqa: B023
        yield f"step {step}", found
        step += stride


def crash_in_files(ground: Ground) -> Iterator[tuple[str, list[str]]]:
    """The same in the middle of files: the kernel kills at a file's n-th byte."""
    for size in (1, 3, 40, 300, 1000, 2000):

        def limit(_: Path) -> None:
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))  # noqa: B023

        died, found = ground.kill(f"byte-{size}", limit)
        assert died
        yield f"byte {size}", found


def main() -> None:
    """Print the number of crash points and the first fault as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("life", choices=sorted(LIVES))
    parser.add_argument("--without", choices=sorted(GUARDS))
    parser.add_argument("--stride", type=int, help="steps; in the middle of files if none")
    given = parser.parse_args()
    os.fsync = lambda _: None  # killed processes lose nothing that was not synced: skip the wait
    if given.without is not None:
        GUARDS[given.without](pytest.MonkeyPatch())
    if given.life == "command":
        for name in PRELOADED:
            import_module(name)
    ground = Ground(given.folder, given.life)
    points = (
        crash_in_files(ground) if given.stride is None else crash_at_steps(ground, given.stride)
    )
    result: dict[str, Any] = {"points": 0, "fault": None}
    for point, found in points:
        result["points"] += 1
        if found:
            result["fault"] = [point, *found]
            break
    print(json.dumps(result))


if __name__ == "__main__":
    main()
