from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from tests.test_extract.layouts import LayoutCase
from tests.test_extract.layouts.people import picture, write_picture

PICTURE_SIZE, VIDEO_SIZE = (60, 80), (64, 96)
NUM_FRAMES = 6


def write_video(path: Path, num_frames: int = NUM_FRAMES) -> None:
    """A small mp4; the file's bytes are the same at every call."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"bf": "2", "preset": "ultrafast"}
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.height, stream.width = VIDEO_SIZE
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        stream.codec_context.thread_count = 1
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(picture(VIDEO_SIZE, number), format="rgb24")
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def write_folder(root: Path) -> None:
    """Pictures 1, 2 and 10 in `hall`, one in the root, a video, and things that are neither."""
    for number in (1, 2, 10):
        write_picture(root / "hall" / f"{number}.jpg", PICTURE_SIZE, seed=number)
    write_picture(root / "0007.png", PICTURE_SIZE, seed=7)
    write_video(root / "out" / "walk.mp4")
    (root / "notes.md").write_text("nothing")
    (root / ".hidden").mkdir()
    write_picture(root / ".hidden" / "3.jpg", PICTURE_SIZE, seed=3)


def write_folder_with_csv(root: Path) -> None:
    """Two persons in the video, one of them in frames 1, 2 and 4 only; one in two pictures."""
    write_folder(root)
    lines = ["# made by hand", "file,frame,track,x1,y1,x2,y2,score"]
    lines += [f"out/walk.mp4,{i},anna,{10 + i},5,{40 + i},60,0.9" for i in (4, 2, 1)]
    lines += [f"out/walk.mp4,{i},ben,{50 + i},5,{80 + i},60,0.8" for i in range(NUM_FRAMES)]
    lines += [f"hall/{i}.jpg,,anna,20,5,50,55,0.7" for i in (10, 2)]
    (root / "people.csv").write_text("\n".join(lines) + "\n")


def write_folder_with_results(root: Path) -> None:
    """COCO's detection results: picture numbers, x, y, w, h and scores."""
    write_folder(root)
    results = [
        {"image_id": image, "category_id": 1, "bbox": [10.0 + i, 5.0, 30.0, 50.0], "score": score}
        for image in (2, 10, 7)
        for i, score in enumerate(np.linspace(0.3, 0.9, 2).tolist())
    ]
    (root / "results.json").write_text(json.dumps(results))


CASES = (
    LayoutCase("folder", write_folder, tolerance_px=None, faces_camera=False),
    LayoutCase(
        "folder",
        write_folder_with_csv,
        annotations=("people.csv",),
        tolerance_px=None,
        options={"boxes": "people.csv"},
        label="csv",
        faces_camera=False,
    ),
    LayoutCase(
        "folder",
        write_folder_with_results,
        annotations=("results.json",),
        tolerance_px=None,
        options={"boxes": "results.json"},
        label="coco-results",
        faces_camera=False,
    ),
)
