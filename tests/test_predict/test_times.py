"""When frames are shown: a video's own times, even or not."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from pipeline.predict.film import Film
from stages.extract.datasets.videos import video_times_s
from tests.test_pipeline.commands import CommandLine
from tests.test_predict.conftest import Place, numbers

SHOWN_MS = (0, 33, 66, 1066, 1100, 3000)


def write_uneven(path: Path, picture: np.ndarray, shown_ms: tuple[int, ...]) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30)
        stream.height, stream.width = picture.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        for time_ms in shown_ms:
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time_ms, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def test_frames_of_uneven_videos_have_their_own_times(
    place: Place, posecache: CommandLine, tmp_path: Path
) -> None:
    write_uneven(tmp_path / "w.mp4", place.dataset.load_image(place.test_rows[0]), SHOWN_MS)
    ended = posecache(
        *("predict", str(tmp_path / "w.mp4"), "--run", str(place.run)),
        *("--out", str(tmp_path / "out"), "-s", "predict.overlay=none", "-s", "predict.stride=2"),
    )
    assert ended.code == 0, ended.err
    found = numbers(tmp_path / "out" / "poses.npz")["time_s"]
    np.testing.assert_allclose(found, np.array(SHOWN_MS[::2]) / 1000, atol=1e-3)


def test_frames_of_even_videos_are_evenly_spaced(tmp_path: Path) -> None:
    with Film(tmp_path / "w.mp4", fps=29.97) as film:
        for _ in range(7):
            film.add(np.zeros((32, 32, 3), dtype=np.uint8))
    found = video_times_s(tmp_path / "w.mp4")
    np.testing.assert_allclose(found, np.arange(7) / 29.97, atol=1e-4)
