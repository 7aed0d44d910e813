"""Processes that train one run together: how they meet, and how they end together.

The first process that fails says so in the store through which all of them met, and raises its
error. Every other process then ends with `OtherProcessFailed`, or, where it hangs in a GPU's queue
or reads for a long time, at once. A process that dies without a word (killed, out of memory) is
noticed by a connection that closes.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Protocol, Self

import torch
from torch import distributed
from torch.distributed.rendezvous import rendezvous

from stages.lift.errors import LiftError, OtherProcessFailed
from stages.lift.processes.world import World, world_of

MEETING_TIMEOUT = timedelta(minutes=5)
# A process may wait this long for the others: rank 0 writes all files, perhaps to a slow disk.
TIMEOUT = timedelta(minutes=60)
LOOK_EVERY_S = 0.5
# How long a process that has nothing to say stays, so that the one that has can say it: torchrun
# ends all as soon as one has ended.
GRACE_S = 3.0
_HERE, _FAILED = "posecache/here", "posecache/failed"


@contextmanager
def open_world() -> Iterator[World]:
    """Meets the processes that torchrun started beside this one, until the block ends.

    Without torchrun, or with a single process, nothing of torch.distributed is touched.

    Raises:
        LiftError: torchrun's variables are incomplete, the others did not come or one was lost.
        OtherProcessFailed: another process failed, and has said why.
    """
    world = world_of(os.environ)
    if world.size == 1:
        yield world
        return
    failures = _meet(world)
    watch = _Watch(failures)
    try:
        yield world
    except (Exception, KeyboardInterrupt) as error:
        watch.stop()
        lost = isinstance(error, RuntimeError) and _is_of_connection(error)
        said = lost and failures.wait(GRACE_S) and not failures.store_is_lost
        if said or not failures.claim():
            time.sleep(GRACE_S)
            raise _silent(world) from error
        if lost:
            reason = (str(error).splitlines() or [""])[0]
            raise LiftError(
                f"Process {world.rank} of {world.size} lost the others: {reason}. One of them was"
                " killed, perhaps for its memory, or a machine cannot be reached. The same command"
                " goes on from the last saved epoch."
            ) from error
        raise
    watch.stop()
    distributed.destroy_process_group()


def _silent(world: World) -> OtherProcessFailed:
    return OtherProcessFailed(
        f"Process {world.rank} of {world.size} ended because another one failed and says why."
    )


def _is_of_connection(error: RuntimeError) -> bool:
    """Whether an error of torch comes from the processes' connections, not from the lifter."""
    if isinstance(error, distributed.DistError):
        return True
    words = ("gloo", "NCCL", "ProcessGroup", "Connection closed", "Connection reset")
    return any(word in str(error) for word in words)


def _meet(world: World) -> _Failures:
    place = f"{os.environ['MASTER_ADDR']}:{os.environ['MASTER_PORT']}"
    has_nccl = torch.cuda.is_available() and distributed.is_nccl_available()
    try:
        store, _, _ = next(iter(rendezvous("env://", timeout=MEETING_TIMEOUT)))
        store.set(f"{_HERE}/{world.rank}", "")
        store.wait([f"{_HERE}/{rank}" for rank in range(world.size)], MEETING_TIMEOUT)
        distributed.init_process_group(
            backend="cpu:gloo,cuda:nccl" if has_nccl else "gloo",
            store=store,
            rank=world.rank,
            world_size=world.size,
            timeout=TIMEOUT,
        )
        world.wait()
    except (RuntimeError, ValueError, OSError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise LiftError(
            f"Process {world.rank} of {world.size} could not meet the others at {place}: {reason}."
            " Start all processes with the same address, and see that it can be reached."
        ) from error
    return _Failures(store)


class _Store(Protocol):
    """What is used of torch's store of keys and numbers."""

    def clone(self) -> Self: ...

    def add(self, key: str, amount: int, /) -> int: ...

    def check(self, keys: list[str], /) -> bool: ...


class _Failures:
    """Whether a process has failed, known to all."""

    def __init__(self, store: _Store) -> None:
        # A connection of its own: another thread may wait for long in that of torch.
        self._store = store.clone()
        self.store_is_lost = False  # with the process that held it

    def claim(self) -> bool:
        """Says that this process failed; returns whether it is the first, or the store is lost."""
        try:
            return self._store.add(_FAILED, 1) == 1
        except RuntimeError:
            self.store_is_lost = True
            return True

    def happened(self) -> bool:
        """Whether a process has failed; so it has if the store cannot be asked any more."""
        try:
            return self._store.check([_FAILED])
        except RuntimeError:
            self.store_is_lost = True
            return True

    def wait(self, seconds: float) -> bool:
        """Waits for a failure at most so long; returns whether there is one."""
        until = time.monotonic() + seconds
        while not self.happened():
            if time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True


class _Watch:
    """Ends this process soon after another one has failed, whatever it is doing."""

    def __init__(self, failures: _Failures) -> None:
        self._failures = failures
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lift-watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stopped.wait(LOOK_EVERY_S):
            if self._failures.happened():
                # The main thread may notice by itself and end in order; in a kernel that waits for
                # the failed process it cannot. All files are written whole or not at all.
                if self._stopped.wait(GRACE_S):
                    return
                if self._failures.store_is_lost:
                    os.write(2, b"The process through which all met is gone; this one ends.\n")
                os._exit(1)
