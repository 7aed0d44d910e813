"""Files that are not what their names promise."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from tests.test_errors.place import HTML, Place, cut
from tests.test_errors.table.commands import EVALUATE, EXTRACT, KEYPOINTS
from tests.test_errors.wrong import Wrong


class Harmful:
    """Runs a command when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("touch harmed",)


def harmful_npz(place: Place) -> None:
    (place / "h36m/metadata.xml").write_text("<metadata/>")
    harmful: Any = np.array(Harmful(), dtype=object)
    np.savez(place / "h36m/data_3d_h36m.npz", positions_3d=harmful)


def keypoint_objects(place: Place) -> None:
    place.picture()
    objects: Any = np.array({"a.png": 1}, dtype=object)
    np.savez(place / "cpn.npz", keypoints=objects)


def keypoint_page(place: Place) -> None:
    place.picture()
    place.text("cpn.npz", HTML)


def video_without_frames(place: Place) -> None:
    place.video()
    cut(place.root / "pictures/a.mp4", 40)


def video_without_packets(place: Place) -> None:
    import av

    with av.open(str(place / "pictures/a.mp4"), "w") as out:
        stream: Any = out.add_stream("mpeg4", rate=10)
        stream.width, stream.height = 64, 48
        out.start_encoding()


def two_runs(place: Place) -> None:
    place.run()
    place.run("runs/two")
    place.text("runs/two/metrics.json", "{}")


ENTRIES = (
    Wrong(
        "Settings that are not YAML",
        "extract --preset mine.yaml",
        2,
        "mine.yaml, line 3, column 5",
        "not valid YAML",
        "Correct it there",
        lambda place: place.text("mine.yaml", "lifter:\n  width: [1\nname: }"),
    ),
    Wrong(
        "Settings that are not text",
        "extract --preset mine.yaml",
        2,
        "mine.yaml",
        "is no text file",
        "Give a .yaml file",
        lambda place: (place / "mine.yaml").write_bytes(b"\xff\xfe\x00\x01"),
    ),
    Wrong(
        "Settings that say neither dataset nor detector",
        "lift --preset mine.yaml",
        2,
        "dataset: must be set",
        "detector: must be set",
        "extends: default",
        lambda place: place.text("mine.yaml", "train: {lr: 0.001}"),
        lines=3,
    ),
    Wrong(
        "Settings that are a list",
        "extract --preset mine.yaml",
        2,
        "mine.yaml",
        "must be a mapping, not list",
        "Write settings as 'key: value'",
        lambda place: place.text("mine.yaml", "- width: 3"),
    ),
    Wrong(
        "A run's configuration that is not JSON",
        EVALUATE,
        3,
        "runs/made/config.json",
        "cannot be read as JSON",
        "train the run again",
        lambda place: (place.run() / "config.json").write_text("{"),
    ),
    Wrong(
        "Metrics that no evaluation wrote",
        "compare runs/made runs/two",
        3,
        "runs/two/metrics.json",
        "has no lifter and no splits",
        "posecache evaluate runs/two",
        two_runs,
    ),
    Wrong(
        "A box file of an unknown kind",
        f"{EXTRACT} -s dataset.options.boxes=boxes.xml",
        3,
        "boxes.xml",
        "must be a .csv, .json or .txt",
        "Convert it",
        lambda place: place.boxes("<boxes/>", "boxes.xml"),
    ),
    Wrong(
        "A box file with other columns",
        f"{EXTRACT} -s dataset.options.boxes=boxes.csv",
        3,
        "boxes.csv",
        "columns file, x1, x2, y1, y2 are missing",
        "the first line must name the columns",
        lambda place: place.boxes("name,left,top\na.png,1,2\n"),
    ),
    Wrong(
        "A box file that is not JSON",
        f"{EXTRACT} -s dataset.options.boxes=boxes.json",
        3,
        "boxes.json",
        "is not json",
        "Write it again",
        lambda place: place.boxes(HTML, "boxes.json"),
    ),
    Wrong(
        "Keypoints that are a web page",
        f"{KEYPOINTS}=H36M17",
        3,
        "cpn.npz",
        "no file of plain arrays",
        "Save it again",
        keypoint_page,
    ),
    Wrong(
        "Keypoints that are Python objects",
        f"{KEYPOINTS}=H36M17",
        3,
        "cpn.npz",
        "no file of plain arrays",
        "Save it again",
        keypoint_objects,
    ),
    Wrong(
        "A dataset's npz that would run a command",
        "extract --dataset human36m-videopose3d --detector synthetic -s dataset.root=h36m",
        3,
        "h36m/data_3d_h36m.npz",
        "only numpy arrays and plain containers are read",
        "copy or download it again",
        harmful_npz,
    ),
    Wrong(
        "A picture that is a text file",
        f"{EXTRACT} --strict",
        3,
        "a.png#0",
        "pictures of 1 of 1 frames are missing",
        "Complete the dataset",
        lambda place: place.text("pictures/a.png", HTML),
    ),
    Wrong(
        "Pictures of which not one can be used",
        f"{EXTRACT} --json",
        3,
        "data/folder-hrnet-synthetic.zarr",
        "not one of its 1 frames can be used: unreadable 1",
        "delete the store, and run the same command again",
        lambda place: place.text("pictures/a.png", HTML),
        begins="data/folder-hrnet-synthetic",
        fills=True,
    ),
    Wrong(
        "A video that is a web page",
        EXTRACT,
        3,
        "pictures/a.mp4",
        "is not a video that FFmpeg reads",
        "Mend it or move it away",
        lambda place: place.text("pictures/a.mp4", HTML),
    ),
    Wrong(
        "A video that ends before its first frame",
        EXTRACT,
        3,
        "pictures/a.mp4",
        "is not a video that FFmpeg reads",
        "Mend it or move it away",
        video_without_frames,
    ),
    Wrong(
        "A video without packets",
        EXTRACT,
        3,
        "pictures/a.mp4",
        "has no video stream",
        "Mend it or move it away",
        video_without_packets,
    ),
)
