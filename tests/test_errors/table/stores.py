"""Versions; stores that are not whole, or not of the kind that is wanted."""

from __future__ import annotations

from tests.test_errors.place import STORE, Place, change_json, cut, flip
from tests.test_errors.table.commands import EVALUATE, LIFT, TAKEN
from tests.test_errors.wrong import Wrong

SHARD = "features/x8/c.0.0.0.0.0"


def newer_store(place: Place) -> None:
    change_json(
        place.store() / "zarr.json", lambda root: root["attributes"].update(format_version=2)
    )


def newer_run(place: Place) -> None:
    change_json(place.run() / "run.json", lambda run: run.update(format=2))


def unknown_setting(place: Place) -> None:
    change_json(place.run() / "run.json", lambda run: run["lifter"].update(widht=8))


def other_detector(place: Place) -> None:
    place.run()
    place.store("data/other.zarr", kind="other")


def other_joints(place: Place) -> None:
    place.run()
    place.store("data/coco.zarr", kind="coco")


def train_on(place: Place) -> None:
    place.store()
    place.folder("runs")


def cut_shard(place: Place) -> None:
    train_on(place)
    cut(place.root / STORE / SHARD, 1000)


def lost_shard(place: Place) -> None:
    train_on(place)
    (place.root / STORE / SHARD).unlink()


def damaged_map(place: Place) -> None:
    train_on(place)
    flip(place.root / STORE / SHARD)


def damaged_labels(place: Place) -> None:
    train_on(place)
    flip(place.root / STORE / "labels/joints_3d_mm/c.0.0.0")


VERSIONS = (
    Wrong(
        "A store of a newer format",
        LIFT,
        4,
        "data/made.zarr",
        "format version 2, this release reads version 1",
        "install the posecache that wrote it",
        newer_store,
    ),
    Wrong(
        "A group of Zarr version 2",
        LIFT,
        4,
        "data/made.zarr",
        "a group of Zarr version 2, not a posecache store",
        "name another store",
        lambda place: place.text(f"{STORE}/.zgroup", '{"zarr_format": 2}'),
    ),
    Wrong(
        "A Zarr group of someone else",
        "cache info data/made.zarr",
        4,
        "data/made.zarr",
        "a Zarr group, but not a posecache store",
        "name another store",
        lambda place: place.text(
            f"{STORE}/zarr.json", '{"zarr_format": 3, "node_type": "group", "attributes": {}}'
        ),
    ),
    Wrong(
        "A run of a newer format",
        EVALUATE,
        3,
        "runs/made/run.json",
        "has format 2, this version reads 1",
        "Use the version that wrote it",
        newer_run,
    ),
    Wrong(
        "A run with a setting that this version does not know",
        EVALUATE,
        3,
        "runs/made/run.json",
        "lifter.widht",
        "Use the version that wrote it",
        unknown_setting,
    ),
)

STORES = (
    Wrong(
        "A folder that is no store",
        LIFT,
        4,
        "data/made.zarr",
        "not a posecache store: no readable zarr.json",
        "name another store",
        lambda place: place.text(f"{STORE}/notes.txt", "mine"),
    ),
    Wrong(
        "A store that is not complete",
        LIFT,
        3,
        "data/made.zarr",
        "1 of 2 chunks (missing 1)",
        "Run the same 'posecache extract' again",
        lambda place: (place.store() / "commit/c.1").unlink(),
    ),
    Wrong(
        "A shard that is lost",
        f"{LIFT} --json",
        3,
        "data/made.zarr: chunk 0 of x8",
        "No such file or directory",
        "mends it with --repair",
        lost_shard,
    ),
    Wrong(
        "A shard that ends early",
        f"{LIFT} --json",
        3,
        "data/made.zarr: chunk 0 of x8",
        "truncated or damaged file",
        "mends it with --repair",
        cut_shard,
    ),
    Wrong(
        "A map with a flipped bit",
        f"{LIFT} --json",
        3,
        "data/made.zarr: chunk 0 of x8",
        "rows 0-0: the plain view fails its checksum",
        "mends it with --repair",
        damaged_map,
    ),
    Wrong(
        "Labels with a flipped bit",
        f"{LIFT} --json",
        3,
        "data/made.zarr: labels/joints_3d_mm",
        "fails its checksum",
        "delete the store and extract again",
        damaged_labels,
    ),
    Wrong(
        "A store without 3D labels",
        LIFT,
        3,
        "made.zarr",
        "has no 3D labels",
        "Use a store of a dataset with 3D labels",
        lambda place: place.store(kind="flat"),
        out=TAKEN,
    ),
    Wrong(
        "A store of another detector than the run's",
        f"{EVALUATE} --store data/other.zarr",
        4,
        "other.zarr",
        'detector.weights: stored "abc", asked "def"',
        "Use a store of the same detector",
        other_detector,
        lines=3,
    ),
    Wrong(
        "Parts of different stores",
        "cache merge data/made.zarr data/other.zarr --out data/all.zarr",
        4,
        "data/other.zarr and",
        "are not parts of one store",
        "A reader can join stores of other rows",
        other_detector,
        lines=3,
    ),
    Wrong(
        "A merge into one of its parts",
        "cache merge data/made.zarr data/other.zarr --out data/made.zarr",
        3,
        "data/made.zarr",
        "merging needs stores other than",
        "name another folder",
        other_detector,
    ),
    Wrong(
        "A subset of a split that is not there",
        "cache subset data/made.zarr --out data/few.zarr --where split=trian",
        3,
        "trian",
        "no row has split",
        "name some of these",
        lambda place: place.store(),
    ),
)

SKELETONS = (
    Wrong(
        "A store of other joints than the run's",
        f"{EVALUATE} --store data/coco.zarr",
        4,
        "coco.zarr",
        "trained on H36M17 (17 joints), the store has COCO17",
        "Use a store of the same detector",
        other_joints,
        lines=4,
    ),
)
