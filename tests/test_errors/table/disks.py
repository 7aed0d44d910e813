"""Places that cannot be written, disks that are full, and two commands at once."""

from __future__ import annotations

import errno
import json
import os

import pytest

from tests.test_errors.made import command
from tests.test_errors.place import Place
from tests.test_errors.table.commands import EXTRACT, LIFT
from tests.test_errors.wrong import Wrong


def full_disk(patch: pytest.MonkeyPatch) -> None:
    def refuse(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    patch.setattr(os, "fsync", refuse)


def below_a_file(place: Place) -> None:
    place.text("file")
    place.picture()


def store_and_file(place: Place) -> None:
    place.text("file")
    place.store()


def train_on(place: Place) -> None:
    place.store()
    place.folder("runs")


def two_runs_and_file(place: Place) -> None:
    place.text("file")
    place.run()
    place.run("runs/two")


def trained_by_another(place: Place) -> None:
    place.store()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place.root)
        _, out, _ = command(f"{LIFT} --dry-run --json")
    place.hold(f"{json.loads(out)['run']}/.lock")


ENTRIES = (
    Wrong(
        "Stores below a file",
        f"{EXTRACT} -s data_root=file/data",
        3,
        "file/data",
        "cannot be written (Not a directory)",
        "--set data_root=DIR",
        below_a_file,
    ),
    Wrong(
        "Stores where nobody may write",
        f"{EXTRACT} -s data_root=/proc/data",
        3,
        "/proc/data",
        "cannot be written",
        "--set data_root=DIR",
        below_a_file,
    ),
    Wrong(
        "Runs below a file",
        f"{LIFT} -s runs_root=file/runs --json",
        3,
        "file/runs",
        "cannot be written (Not a directory)",
        "--set runs_root=DIR",
        store_and_file,
    ),
    Wrong(
        "A new detector below a file",
        "train-detector --out file/detector",
        3,
        "file/detector",
        "cannot be written (Not a directory)",
        "choose another folder: --out PATH",
        below_a_file,
    ),
    Wrong(
        "A merged store below a file",
        "cache merge data/made.zarr --out file/all.zarr",
        3,
        "file/all.zarr",
        "cannot write the store",
        "choose another data_root",
        store_and_file,
    ),
    Wrong(
        "A table below a file",
        "compare runs/made runs/two --csv file/table.csv",
        3,
        "file/table.csv",
        "cannot be written",
        "choose another place",
        two_runs_and_file,
    ),
    Wrong(
        "A box file inside the folder of pictures",
        "find-people pictures --out pictures/people.csv -s people.detector=mine:find",
        3,
        "pictures/people.csv",
        "would become one of the dataset",
        "Give --out a place outside",
        lambda place: place.picture(),
    ),
    Wrong(
        "A checkpoint written over another file",
        "convert-checkpoint hrnet.pth hrnet.safetensors",
        3,
        "hrnet.safetensors",
        "exists already",
        "Delete it, or give another name",
        lambda place: place.text("hrnet.safetensors"),
    ),
    Wrong(
        "A full disk, when a run begins",
        f"{LIFT} --json",
        3,
        "run.json",
        "No space left on device",
        "Free some space",
        train_on,
        while_it_runs=full_disk,
        varies=True,
    ),
    Wrong(
        "A full disk, when a store begins",
        "cache subset data/made.zarr --out data/few.zarr --where split=train",
        3,
        "data/few.zarr",
        "No space left on device",
        "free space",
        lambda place: place.store(),
        while_it_runs=full_disk,
    ),
    Wrong(
        "Two commands that train one run",
        f"{LIFT} --json",
        3,
        "runs/made-capf",
        "Another process is training in",
        "Wait for it or choose another run",
        trained_by_another,
        varies=True,
    ),
)
