"""Paths that lead nowhere, or to something else."""

from __future__ import annotations

from tests.test_errors.place import Place
from tests.test_errors.table.commands import EVALUATE, EXTRACT, HRNET, LIFT
from tests.test_errors.wrong import Wrong


def two_runs(place: Place) -> None:
    place.run()
    (place.run("runs/two") / "metrics.json").unlink()


ENTRIES = (
    Wrong(
        "The folder of the dataset is not there",
        EXTRACT.replace("pictures", "none"),
        3,
        "none is not a folder",
        "there is nothing of that name",
        "Set dataset.root to the folder",
    ),
    Wrong(
        "A video is given where a folder of videos is wanted",
        EXTRACT.replace("pictures", "walk.mp4"),
        3,
        "walk.mp4",
        "it is a file",
        "Set dataset.root to the folder",
        lambda place: place.video("walk.mp4"),
    ),
    Wrong(
        "The folder of the dataset is not named",
        "extract --dataset folder",
        2,
        "'folder'",
        "needs its folder",
        "--set dataset.root=DIR",
    ),
    Wrong(
        "The folder of the dataset is empty",
        EXTRACT,
        3,
        "pictures holds",
        "no pictures",
        "Put some there",
        lambda place: place.folder("pictures"),
    ),
    Wrong(
        "Files of a dataset are missing",
        "extract --dataset human36m -s dataset.root=h36m",
        3,
        "h36m/annotation_body3d/cameras.pkl",
        "2 files are missing",
        "Set dataset.root to a folder like this",
        lambda place: place.folder("h36m"),
        lines=7,
    ),
    Wrong(
        "The box file is not there",
        f"{EXTRACT} -s dataset.options.boxes=none.csv",
        3,
        "pictures/none.csv",
        "no such box file",
        "Correct dataset.options.boxes",
        lambda place: place.picture(),
    ),
    Wrong(
        "The box file names a picture that is not there",
        f"{EXTRACT} -s dataset.options.boxes=boxes.csv",
        3,
        "b.png",
        "not below the folder",
        "Correct the names in the box file",
        lambda place: place.boxes("file,x1,y1,x2,y2\nb.png,1,2,30,40\n"),
    ),
    Wrong(
        "The weights are not there",
        f"{HRNET} -s detector.weights=hrnet.pth",
        3,
        "hrnet.pth",
        "has no such file",
        "Check detector.config and detector.weights",
    ),
    Wrong(
        "The weights are not named",
        HRNET,
        2,
        "hrnet-w32",
        "weights are not part of this project",
        "--set detector.weights=FILE",
    ),
    Wrong(
        "The detector's folder is not there",
        f"{EXTRACT} -s detector.folder=mine",
        3,
        "mine/detector.json",
        "has no such file",
        "posecache train-detector",
        lambda place: place.picture(),
    ),
    Wrong(
        "The store is not there",
        LIFT,
        3,
        "data/made.zarr",
        "no such store. Stores in data: other.zarr",
        "posecache extract",
        lambda place: place.store("data/other.zarr"),
    ),
    Wrong(
        "A file is given where a store is wanted",
        LIFT,
        3,
        "data/made.zarr",
        "is a file, not a store",
        "posecache extract",
        lambda place: place.text("data/made.zarr"),
    ),
    Wrong(
        "The run is not there",
        "evaluate runs/other",
        3,
        "runs/other",
        "no such run. Finished runs in runs: made",
        "Name one of them",
        lambda place: place.run(),
    ),
    Wrong(
        "There is no run yet",
        "evaluate",
        3,
        "runs",
        "holds no finished run",
        "posecache lift",
    ),
    Wrong(
        "The run is not finished",
        EVALUATE,
        3,
        "runs/made",
        "was not finished",
        "Repeat the command that began it",
        lambda place: (place.run() / "config.json").unlink(),
    ),
    Wrong(
        "A run to compare has no metrics",
        "compare runs/made runs/two",
        3,
        "runs/two/metrics.json",
        "the run is not finished",
        "Repeat the command that began it",
        two_runs,
    ),
    Wrong(
        "The file of 2D keypoints is not there",
        f"{EXTRACT} -s dataset.keypoints.cpn.file=cpn.npz -s dataset.keypoints.cpn.skeleton=H36M17",
        3,
        "cpn.npz",
        "no such file",
        "Check dataset.keypoints.cpn.file",
        lambda place: place.picture(),
    ),
    Wrong(
        "The file of settings is not there",
        "extract --preset mine.yaml",
        2,
        "mine.yaml",
        "No such file",
        "Correct the path",
    ),
)
