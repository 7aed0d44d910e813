"""Killed writers: every step of creating a store and of writing chunks is a place to die."""

from __future__ import annotations

import atexit
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from cache import CacheIncomplete, CacheReader, verify
from cache.storage.files import TEMPORARY_PREFIX, temporary_folder, write_files
from tests.test_cache.factory import (
    array_rows,
    make_chunk,
    make_spec,
    open_writer,
    store_bytes,
    write_store,
)

SPEC = make_spec(14)


def die_at(call: int) -> None:
    """Let this process be killed at its `call`-th file system step."""
    calls = 0

    def counted(step: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **keywords: object) -> object:
            nonlocal calls
            calls += 1
            if calls == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return step(*arguments, **keywords)

        return run

    for name in ("fsync", "rename", "unlink", "open", "fdopen", "mkdir"):
        setattr(os, name, counted(getattr(os, name)))


def killed_while(action: Callable[[], object], call: int) -> bool:
    """Run the action in a forked child that dies at a step; False if it ended before."""
    child = os.fork()
    if child == 0:
        die_at(call)
        action()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL


def leftovers(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name.startswith(TEMPORARY_PREFIX)]


def test_resume_after_a_kill_at_any_step_gives_the_same_bytes(tmp_path: Path) -> None:
    path = write_store(tmp_path / "a.zarr", SPEC)
    expected = store_bytes(path)
    writer, data = open_writer(path, SPEC), make_chunk(SPEC, SPEC.chunk_rows(1))
    call, killed = 0, True
    while killed:
        call += 1
        writer.discard_chunk(1)
        killed = killed_while(lambda: writer.write_chunk(1, data), call)
        with open_writer(path, SPEC) as resumed:
            for chunk in resumed.missing_chunks():
                assert chunk == 1
                resumed.write_chunk(chunk, data)
        assert store_bytes(path) == expected
    assert call > 30


def test_creation_killed_at_any_step_leaves_nothing_half_made(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.test_cache import test_resume as t\n"
        "path, call = Path(sys.argv[1]), int(sys.argv[2])\n"
        "t.die_at(call); t.open_writer(path, t.SPEC)"
    )
    expected = store_bytes(write_store(tmp_path / "calm.zarr", SPEC, chunks=[]))
    for call in (40, 160):
        path = tmp_path / f"{call}" / "a.zarr"
        child = subprocess.run([sys.executable, "-c", script, path, str(call)], check=False)
        assert child.returncode == -signal.SIGKILL
        assert not path.exists()
        write_store(path, SPEC, chunks=[])
        assert store_bytes(path) == expected
        assert leftovers(path.parent) == []


def test_data_and_folders_are_synced_before_the_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = open_writer(tmp_path / "a.zarr", SPEC)
    steps: list[str] = []

    def name(descriptor: int) -> str:
        return os.readlink(f"/proc/self/fd/{descriptor}").removeprefix(writer.location + "/")

    rename = os.rename
    monkeypatch.setattr(os, "fsync", lambda descriptor: steps.append(f"sync {name(descriptor)}"))
    monkeypatch.setattr(
        os, "rename", lambda a, b: (steps.append(f"name {Path(b).name}"), rename(a, b))
    )
    writer.write_chunk(0, make_chunk(SPEC, range(4)))
    *data, commit_data, commit, commit_folder = steps
    assert commit_data.startswith(f"sync commit/{TEMPORARY_PREFIX}")
    assert (commit, commit_folder) == ("name c.0", "sync commit")
    first_rename = next(i for i, step in enumerate(data) if step.startswith("name"))
    assert all(TEMPORARY_PREFIX in step for step in data[:first_rename])
    assert len(data[:first_rename]) == 6
    assert {"sync features/x4", "sync features/x8", "sync status", "sync crop/affine"} <= set(
        data[first_rename:]
    )


def test_files_of_living_writers_are_not_swept(tmp_path: Path) -> None:
    path = tmp_path / "a.zarr"
    open_writer(path, SPEC)
    folder = path / "status"

    def parts() -> object:
        yield b"first"
        open_writer(path, SPEC)
        assert len(leftovers(folder)) == 1
        yield b"second"

    with temporary_folder(path) as living:
        write_files({folder / "c.0": parts()})  # type: ignore[dict-item]
        assert living.exists()
    assert (folder / "c.0").read_bytes() == b"firstsecond"
    dead = folder / f"{TEMPORARY_PREFIX}c.1-0123"
    dead.write_bytes(b"")
    open_writer(path, SPEC)
    assert not dead.exists()


def test_two_processes_writing_all_chunks_give_the_same_bytes(tmp_path: Path) -> None:
    expected = store_bytes(write_store(tmp_path / "calm.zarr", SPEC))
    path = tmp_path / "a.zarr"
    script = (
        "import sys; from pathlib import Path; from tests.test_cache import factory as f\n"
        "spec = f.make_spec(14); f.write_store(Path(sys.argv[1]), spec, chunks=[0, 1, 2, 3])"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, path]) for _ in range(2)]
    assert [child.wait() for child in children] == [0, 0]
    assert store_bytes(path) == expected


@cache
def empty_store() -> Path:
    """A store without chunks to copy: zarr takes longer to make one than all the rest."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    return write_store(folder / "empty.zarr", SPEC, chunks=[])


class Store(RuleBasedStateMachine):
    """A store against a set of committed chunks."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.path = Path(self.folder.name) / "a.zarr"
        shutil.copytree(empty_store(), self.path)
        self.writer = open_writer(self.path, SPEC)
        self.committed: set[int] = set()

    chunks = st.integers(0, SPEC.num_chunks - 1)

    def write(self, chunk: int) -> bool:
        return self.writer.write_chunk(chunk, make_chunk(SPEC, self.writer.chunk_rows(chunk)))

    @rule(chunk=chunks)
    def write_one(self, chunk: int) -> None:
        assert self.write(chunk) == (chunk not in self.committed)
        self.committed.add(chunk)

    @rule(chunk=chunks, call=st.integers(1, 45))
    def be_killed_writing(self, chunk: int, call: int) -> None:
        killed = killed_while(lambda: self.write(chunk), call)
        if not killed or chunk not in self.writer.missing_chunks():
            self.committed.add(chunk)

    @rule(chunk=chunks, call=st.integers(1, 8))
    def be_killed_discarding(self, chunk: int, call: int) -> None:
        killed_while(lambda: self.writer.discard_chunk(chunk), call)
        if chunk in self.writer.missing_chunks():
            self.committed.discard(chunk)

    @precondition(lambda self: self.committed)
    @rule(data=st.data())
    def damage_and_repair(self, data: st.DataObject) -> None:
        chunk = data.draw(st.sampled_from(sorted(self.committed)))
        file = self.path / "features" / "x8" / f"c.{chunk}.0.0.0.0"
        file.write_bytes(file.read_bytes()[:-9])
        assert {problem.chunk for problem in verify(self.path).bad} == {chunk}
        self.writer.discard_chunk(chunk)
        self.committed.discard(chunk)

    @rule()
    def reopen(self) -> None:
        self.writer.close()
        self.writer = open_writer(self.path, SPEC)
        assert leftovers(self.path) == []

    @invariant()
    def reads_what_is_committed_and_nothing_else(self) -> None:
        missing = sorted(set(range(SPEC.num_chunks)) - self.committed)
        assert self.writer.missing_chunks() == missing
        reader = CacheReader(self.path, allow_incomplete=True)
        assert reader.complete == (not missing)
        rows = np.flatnonzero(reader.committed())
        for name, maps in reader.read(rows, view=1).items():
            expected = array_rows(SPEC, f"features/{name}", np.arange(SPEC.num_rows))
            np.testing.assert_array_equal(maps, expected[rows, 1])
        for chunk in missing:
            with pytest.raises(CacheIncomplete, match=f"of {SPEC.num_chunks} chunks"):
                reader.read([SPEC.chunk_rows(chunk)[-1]])

    def teardown(self) -> None:
        self.folder.cleanup()


Store.TestCase.settings = settings(max_examples=10, stateful_step_count=10, deadline=None)
TestStore = Store.TestCase
