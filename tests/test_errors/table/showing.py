"""What is wrong for poses of one's own pictures, reports and exports."""

from __future__ import annotations

from tests.test_errors.place import Place, change_json
from tests.test_errors.wrong import Wrong

PREDICT = "predict pictures --run runs/made"


def run_and_picture(place: Place) -> None:
    place.run()
    place.picture()


def run_of_published_detector(place: Place) -> None:
    run_and_picture(place)
    detector = {"name": "hrnet-w32", "config": "mmpose:hrnet.py"}
    change_json(place.root / "runs/made/config.json", lambda tree: tree.update(detector=detector))


def run_of_another_detector(place: Place) -> None:
    run_and_picture(place)
    change_json(
        place.root / "runs/made/config.json",
        lambda tree: tree["detector"].update(folder="mine", name="mine"),
    )


def run_and_file(place: Place) -> None:
    place.run()
    place.text("file")


ENTRIES = (
    Wrong(
        "A video to predict on that is not there",
        "predict walk.mp4 --run runs/made",
        3,
        "walk.mp4",
        "no such picture, video or folder",
        "Check the path",
        lambda place: place.run(),
    ),
    Wrong(
        "A prediction before there is a run",
        "predict pictures",
        3,
        "runs",
        "holds no finished run that lifts what a detector sees",
        "posecache lift",
        lambda place: place.picture(),
    ),
    Wrong(
        "A prediction whose box file is not there",
        f"{PREDICT} --boxes people.csv",
        3,
        "people.csv",
        "no such box file",
        "(of predict: --boxes)",
        run_and_picture,
    ),
    Wrong(
        "A prediction with half a camera",
        f"{PREDICT} --intrinsics 1145,1143",
        2,
        "--intrinsics 1145,1143",
        "expected FX,FY,CX,CY",
        "e.g. 1145,1143,512,515",
        run_and_picture,
    ),
    Wrong(
        "A prediction without the weights of the run's detector",
        PREDICT,
        2,
        "hrnet-w32",
        "weights are not part of this project",
        "--set detector.weights=FILE",
        run_of_published_detector,
    ),
    Wrong(
        "A prediction where the folder of the run's detector is not there",
        PREDICT,
        3,
        "mine/detector.json",
        "has no such file",
        "posecache train-detector",
        run_of_another_detector,
    ),
    Wrong(
        "A report of a run that is not finished",
        "report runs/made",
        3,
        "runs/made/metrics.json",
        "the run is not finished",
        "Repeat the command that began it",
        lambda place: (place.run() / "metrics.json").unlink(),
    ),
    Wrong(
        "A report of a run that is not there",
        "report runs/other",
        3,
        "runs/other",
        "no such run",
        "Name one of them",
        lambda place: place.run(),
    ),
    Wrong(
        "A report held against a folder that is no run",
        "report runs/made --control data",
        3,
        "data",
        "is a folder that holds no run",
        "Name one of them",
        lambda place: place.run(),
    ),
    Wrong(
        "A report under the name of a folder",
        "report runs/made --out data",
        3,
        "data",
        "is a folder",
        "--out data/report.html",
        lambda place: place.run(),
    ),
    Wrong(
        "An export into a folder that is not there",
        "export runs/made --out file/made.onnx",
        3,
        "file/made.onnx",
        "its folder does not exist",
        "Create it",
        run_and_file,
    ),
)
