"""Videos whose pictures show their own number, read in any order."""

from __future__ import annotations

import pickle
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from cache import FrameStatus
from stages.extract.datasets import videos
from stages.extract.datasets.base import DatasetError, FrameError
from stages.extract.datasets.videos import VideoPictures, video_info

av = pytest.importorskip("av", reason="reads videos with PyAV")

SIZE = (64, 96)
NUM_FRAMES = 50
_BITS = 8


def numbered(number: int) -> NDArray[np.uint8]:
    """A picture [64, 96, 3] of 8 grey blocks, bright where the bit of `number` is set."""
    picture = np.full((*SIZE, 3), 128, dtype=np.uint8)
    for bit in range(_BITS):
        top, left = divmod(bit, 4)
        block = picture[top * 32 : top * 32 + 32, left * 24 : left * 24 + 24]
        block[...] = 220 if number >> bit & 1 else 30
    return picture


def number_in(picture: NDArray[np.uint8]) -> int:
    blocks = picture[..., 1].reshape(2, 32, 4, 24).mean(axis=(1, 3)).reshape(-1)
    return sum(1 << bit for bit, value in enumerate(blocks) if value > 125)


def write_video(
    path: Path,
    codec: str = "libx264",
    *,
    num_frames: int = NUM_FRAMES,
    gop: int = 12,
    times: Callable[[int], int] = lambda number: number,
    rotation: int = 0,
    open_options: dict[str, str] | None = None,
    **codec_options: str,
) -> Path:
    """Write frames that show their number; `times` in units of 1/25 s."""
    with av.open(str(path), "w", options=open_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=codec_options)
        stream.height, stream.width = SIZE
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered(number), format="rgb24")
            frame.pts, frame.time_base = times(number), Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sequential(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


H264 = {"bf": "2", "preset": "ultrafast", "crf": "18"}
KINDS: dict[str, Callable[[Path], Path]] = {
    "mp4 with B-frames": lambda folder: write_video(folder / "a.mp4", **H264),
    "mp4 with open groups": lambda folder: write_video(
        folder / "a.mp4", **H264, **{"x264-params": "open-gop=1:b-adapt=0:scenecut=0"}
    ),
    "mp4 with periodic intra refresh": lambda folder: write_video(
        folder / "a.mp4", preset="ultrafast", **{"x264-params": "intra-refresh=1"}
    ),
    "mp4 of key frames": lambda folder: write_video(folder / "a.mp4", gop=1, **H264),
    "mp4 of pairs": lambda folder: write_video(folder / "a.mp4", gop=2, **H264),
    "mp4 with irregular times": lambda folder: write_video(
        folder / "a.mp4", **H264, times=lambda number: number**2 // 3 + number
    ),
    "mp4 that starts late": lambda folder: write_video(
        folder / "a.mp4", **H264, times=lambda number: number + 1000
    ),
    "mkv": lambda folder: write_video(folder / "a.mkv", **H264),
    "transport stream": lambda folder: write_video(folder / "a.ts", **H264),
    "mpeg-2": lambda folder: write_video(folder / "a.mpg", "mpeg2video", bf="2"),
    "avi mpeg4": lambda folder: write_video(folder / "a.avi", "mpeg4"),
    "avi mpeg4 with B-frames": lambda folder: write_video(folder / "a.avi", "mpeg4", bf="2"),
    "avi mjpeg": lambda folder: write_video(folder / "a.avi", "mjpeg"),
    "avi h264 with B-frames": lambda folder: write_video(folder / "a.avi", **H264),
    "raw h264": lambda folder: write_video(folder / "a.h264", **H264),
    "a name with a colon": lambda folder: write_video(folder / "cam:1 %02d.mp4", **H264),
}


@pytest.fixture(params=KINDS)
def video(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return KINDS[request.param](tmp_path)


def test_frames_in_any_order_are_those_of_plain_decoding(video: Path) -> None:
    expected = sequential(video)
    assert [number_in(picture) for picture in expected] == list(range(NUM_FRAMES))
    assert video_info(video).num_frames == NUM_FRAMES
    reader = VideoPictures()
    rng = np.random.default_rng(0)
    orders = [range(NUM_FRAMES), rng.permutation(NUM_FRAMES)[:20], range(NUM_FRAMES - 1, -1, -7)]
    for order in orders:
        for number in order:
            picture = reader.read(video, int(number))
            assert number_in(picture) == number
            np.testing.assert_array_equal(picture, expected[number])


def test_the_number_in_a_picture_tells_neighbours_apart() -> None:
    assert [number_in(numbered(number)) for number in range(256)] == list(range(256))


def test_size_and_rate_are_those_of_the_file(tmp_path: Path) -> None:
    info = video_info(write_video(tmp_path / "a.mp4", **H264))
    assert (info.size, info.fps) == (SIZE, 25.0)


def test_frames_before_an_edit_lists_start_are_not_counted(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", **H264)
    content = bytearray(path.read_bytes())
    at = content.index(b"elst") + 4  # version and flags, count, then duration and media time
    time = int.from_bytes(content[at + 12 : at + 16], "big", signed=True)
    ticks_per_frame = 512
    content[at + 12 : at + 16] = (time + 5 * ticks_per_frame).to_bytes(4, "big")
    path.write_bytes(content)
    expected = sequential(path)
    assert number_in(expected[0]) == 5
    assert video_info(path).num_frames == len(expected) == NUM_FRAMES - 5
    reader = VideoPictures()
    for number in (44, 3, 20, 0):
        np.testing.assert_array_equal(reader.read(path, number), expected[number])


def test_a_containers_wrong_count_is_not_believed(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.avi", "mpeg4")
    content = bytearray(path.read_bytes())
    at = content.index(b"strh") + 8 + 32  # dwLength of the stream header
    assert int.from_bytes(content[at : at + 4], "little") == NUM_FRAMES
    content[at : at + 4] = (7).to_bytes(4, "little")
    path.write_bytes(content)
    assert video_info(path).num_frames == NUM_FRAMES
    assert number_in(VideoPictures().read(path, NUM_FRAMES - 1)) == NUM_FRAMES - 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_pictures_are_turned_upright_as_opencv_does(tmp_path: Path, degrees: int) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=3, rotation=degrees, **H264)
    picture = VideoPictures().read(path, 1)
    opened = cv2.VideoCapture(str(path))
    assert opened.read()[0]
    by_opencv = opened.read()[1][..., ::-1]
    assert video_info(path).size == picture.shape[:2] == by_opencv.shape[:2]
    assert np.abs(picture.astype(int) - by_opencv).mean() < 8


def test_frames_that_a_cut_file_lost_are_truncated_and_earlier_ones_work(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", open_options={"movflags": "faststart"}, **H264)
    cut_inside_packet(path, 20, path)
    statuses = read_statuses(path, range(NUM_FRAMES + 2))
    lost = statuses.index(FrameStatus.TRUNCATED)
    assert 17 <= lost <= 20
    assert statuses[:lost] == [FrameStatus.OK] * lost
    assert set(statuses[lost:NUM_FRAMES]) == {FrameStatus.TRUNCATED}
    assert statuses[NUM_FRAMES:] == [FrameStatus.MISSING] * 2
    backwards = read_statuses(path, range(NUM_FRAMES + 1, -1, -1))
    assert backwards[::-1] == statuses


@pytest.mark.parametrize(
    ("suffix", "codec"), [("avi", "mjpeg"), ("avi", "mpeg4"), ("mkv", ""), ("mp4", ""), ("ts", "")]
)
def test_a_cut_file_never_gives_a_wrong_picture(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a.{suffix}"
    early = {"movflags": "faststart"} if suffix == "mp4" else {}
    write_video(path, codec) if codec else write_video(path, open_options=early, **H264)
    whole = sequential(path)
    for packet in (9, 10, 11, 24):
        cut = tmp_path / f"cut-{packet}.{suffix}"
        cut_inside_packet(path, packet, cut)
        statuses = read_statuses(cut, range(NUM_FRAMES), whole)
        assert statuses[: packet - 3] == [FrameStatus.OK] * (packet - 3)
        assert FrameStatus.OK not in statuses[packet + 1 :]


def cut_inside_packet(path: Path, number: int, cut: Path) -> None:
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    position, size = packets[number]
    cut.write_bytes(path.read_bytes()[: position + size // 2])


def test_damaged_bytes_spoil_frames_up_to_the_next_key_frame_only(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mkv", bf="0", preset="ultrafast", crf="18")
    whole = sequential(path)
    with av.open(str(path)) as container:
        packets = [(p.pos, p.size) for p in container.demux(video=0) if p.size]
    content = bytearray(path.read_bytes())
    position, size = packets[20]
    content[position + 8 : position + size] = bytes(size - 8)
    path.write_bytes(content)
    statuses = read_statuses(path, range(NUM_FRAMES), whole)
    assert statuses[:18] == [FrameStatus.OK] * 18
    assert FrameStatus.TRUNCATED in statuses[18:22]
    assert statuses[24:] == [FrameStatus.OK] * (NUM_FRAMES - 24)
    assert read_statuses(path, range(NUM_FRAMES - 1, -1, -1), whole)[::-1] == statuses


def read_statuses(
    path: Path, numbers: range, expected: list[NDArray[np.uint8]] | None = None
) -> list[FrameStatus]:
    reader, statuses = VideoPictures(), []
    for number in numbers:
        try:
            picture = reader.read(path, number)
        except FrameError as error:
            statuses.append(error.status)
            continue
        statuses.append(FrameStatus.OK)
        assert number_in(picture) == number
        if expected is not None:
            np.testing.assert_array_equal(picture, expected[number])
    return statuses


def test_files_that_are_missing_or_no_videos_are_bad_frames(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    reader = VideoPictures()
    for path, status in (
        (tmp_path / "none.mp4", FrameStatus.MISSING),
        (text, FrameStatus.UNREADABLE),
    ):
        with pytest.raises(FrameError) as caught:
            reader.read(path, 0)
        assert caught.value.status == status
    with pytest.raises(DatasetError, match=r"text\.mp4 is not a video"):
        video_info(text)


def test_a_file_that_changed_is_indexed_anew(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=5, **H264)
    assert video_info(path).num_frames == 5
    write_video(path, num_frames=9, **H264)
    assert video_info(path).num_frames == 9


def test_several_persons_of_a_frame_share_one_picture(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=5, **H264)
    reader = VideoPictures()
    picture = reader.read(path, 3)
    assert reader.read(path, 3) is picture
    assert not picture.flags.writeable


def test_reading_with_a_stride_looks_for_key_frames_only_where_that_saves_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sought: list[int] = []
    seek = videos._Decoder._seek

    def counting(self: videos._Decoder, number: int, key: int, index: videos.VideoIndex) -> bool:
        sought.append(number)
        return seek(self, number, key, index)

    monkeypatch.setattr(videos._Decoder, "_seek", counting)
    path = write_video(tmp_path / "a.mp4", **H264)
    reader = VideoPictures()
    for number in range(0, NUM_FRAMES, 5):
        reader.read(path, number)
    assert sought == []
    reader.read(path, 2)
    reader.read(path, 47)
    assert sought == [2, 47]


def test_threads_share_a_reader_of_more_videos_than_stay_open(tmp_path: Path) -> None:
    paths = [write_video(tmp_path / f"{i}.mp4", num_frames=20, **H264) for i in range(6)]
    reader = VideoPictures()
    jobs = [(path, number) for number in range(20) for path in paths]
    gate = threading.Barrier(4)

    def read(job: tuple[Path, int]) -> bool:
        return number_in(reader.read(*job)) == job[1]

    with ThreadPoolExecutor(4, initializer=gate.wait) as pool:
        assert all(pool.map(read, jobs))


def test_a_pickled_reader_reads_the_same(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=5, **H264)
    reader = VideoPictures()
    picture = reader.read(path, 2)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader)).read(path, 2), picture)


def test_without_pyav_the_error_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_video(tmp_path / "a.mp4", num_frames=2, **H264)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(DatasetError, match=r"pip install -c constraints\.txt av"):
        VideoPictures().read(path, 0)
