"""The order in which a writer changes files, and what a power cut could make of it.

A process of its own writes a store, takes a chunk back and writes it again. Python tells of every
change (`sys.addaudithook`), and every fsync is counted when it has returned. At each step is asked
what is durable: content at the file's last fsync, names at their folder's.

    python -m tests.test_reliability.order FOLDER GUARD...
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from threading import RLock
from typing import Any

import pytest

from cache.schema import COMMIT
from cache.storage.files import TEMPORARY_PREFIX
from tests.test_reliability.crash_points import create, fill, in_child
from tests.test_reliability.guards import GUARDS


class Journal:
    """What a power cut would take, and which rules were broken.

    Args:
        root: folder that holds the store.
        store: folder of the store.
    """

    def __init__(self, root: Path, store: Path) -> None:
        self._root = root
        self._store = store
        self._written: set[Path] = set()  # files whose content may be lost
        self._named: set[Path] = set()  # names that may be lost
        self._removed: set[Path] = set()  # names that may come back
        self._synced: dict[Path, tuple[int, int]] = {}  # size and time of change when last synced
        self.faults: list[str] = []

    def watch(self) -> None:
        """Follow this process from now on."""
        prefix, sync, lock = str(self._root), os.fsync, RLock()

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            if not arguments or not str(arguments[0]).startswith(prefix):
                return
            with lock:  # files are written in threads
                self._note(event, arguments)

        def fsync(descriptor: Any) -> None:
            sync(descriptor)
            with lock:
                self._sync(Path(os.readlink(f"/proc/self/fd/{descriptor}")))

        os.fsync = fsync
        sys.addaudithook(hook)

    def end(self) -> None:
        """Everything must be durable when the writer says that it is done."""
        for kind, paths in (
            ("content of", self._written),
            ("name", self._named),
            ("removal of", self._removed),
        ):
            self.faults += [
                f"at the end, the {kind} {self._short(path)} is not durable"
                for path in sorted(paths)
                if not _is_temporary(path) and self._root != path
            ]

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        path = Path(str(arguments[0]))
        if event == "open":
            mode, flags = arguments[1:]
            if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) or "w" in (mode or ""):
                self._write(path)
        elif event == "os.rename":
            self._rename(path, Path(str(arguments[1])))
        elif event == "os.remove":
            self._remove(path)
        elif event == "os.mkdir":
            self._named.add(path)

    def _write(self, path: Path) -> None:
        self._written.add(path)
        self._named.add(path)
        if not _is_temporary(path):
            self.faults.append(f"{self._short(path)} is written under its final name")

    def _sync(self, path: Path) -> None:
        if path.is_dir():
            self._named = {name for name in self._named if name.parent != path}
            self._removed = {name for name in self._removed if name.parent != path}
        else:
            self._written.discard(path)
            state = path.stat()
            self._synced[path] = state.st_size, state.st_mtime_ns

    def _rename(self, path: Path, target: Path) -> None:
        if not _is_temporary(target):
            self._check_content(path, target)
            if target.parent.name == COMMIT and target.name.startswith("c."):
                self._check_data(int(target.name.split(".")[1]))
            below = [each for each in self._named if path in each.parents]
            self.faults += [f"names below {self._short(target)} are not durable"] if below else []
        self._written = {_moved(each, path, target) for each in self._written}
        self._named = {_moved(each, path, target) for each in self._named - {path}} | {target}

    def _check_content(self, path: Path, target: Path) -> None:
        if any(path in (each, *each.parents) for each in self._written):
            self.faults.append(f"{self._short(target)} is named before it is synced")
        elif path.is_file():
            state = path.stat()
            if self._synced.get(path) != (state.st_size, state.st_mtime_ns):
                self.faults.append(f"{self._short(target)} was written to after its sync")

    def _check_data(self, chunk: int) -> None:
        files = self._files(chunk)
        if len(files) < 6:
            self.faults.append(f"chunk {chunk} is committed before its data are there")
        for kind, lost in (("content", self._written), ("name", self._named)):
            self.faults += [
                f"chunk {chunk} is committed while the {kind} of {self._short(file)} may be lost"
                for file in files
                if file in lost
            ]

    def _remove(self, path: Path) -> None:
        if _is_temporary(path):
            self._written.discard(path)
            self._named.discard(path)
            return
        chunk = path.name.split(".")[1] if path.parent.name != COMMIT else None
        commit = self._store / COMMIT / f"c.{chunk}"
        if chunk is not None and (commit.exists() or commit in self._removed):
            self.faults.append(f"{self._short(path)} is removed while its chunk is committed")
        self._removed.add(path)

    def _files(self, chunk: int) -> list[Path]:
        found = [*self._store.glob(f"*/c.{chunk}*"), *self._store.glob(f"*/*/c.{chunk}.*")]
        plan = {"labels", "index", "cameras", "image_size", COMMIT}
        return [path for path in found if path.relative_to(self._store).parts[0] not in plan]

    def _short(self, path: Path) -> str:
        return str(path.relative_to(self._root))


def _is_temporary(path: Path) -> bool:
    return any(part.startswith(TEMPORARY_PREFIX) for part in path.parts)


def _moved(path: Path, source: Path, target: Path) -> Path:
    return target / path.relative_to(source) if path.is_relative_to(source) else path


def journey(folder: Path, guard: str | None) -> None:
    """Make a store, fill it, take a chunk back and fill it again, and write down the faults."""
    patch = pytest.MonkeyPatch()
    patch.setattr(os, "fsync", lambda _: None)  # counted, not waited for
    root = folder / "data"
    journal = Journal(root, root / "a.zarr")
    root.mkdir()
    journal.watch()
    if guard is not None:
        GUARDS[guard](patch)
    create(root / "a.zarr")
    fill(root / "a.zarr")
    journal.end()
    (folder / "faults.json").write_text(json.dumps(journal.faults))


def main() -> None:
    """Print the faults without any guard missing, and without each one that is named."""
    result = {}
    for guard in (None, *sys.argv[2:]):
        folder = Path(sys.argv[1]) / (guard or "all")
        folder.mkdir()
        assert in_child(lambda: journey(folder, guard)) == 0  # noqa: B023
        result[guard or "all"] = json.loads((folder / "faults.json").read_text())
    print(json.dumps(result))


if __name__ == "__main__":
    main()
