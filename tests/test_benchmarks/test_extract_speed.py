import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks.drawn_pictures import write_pictures, write_video
from benchmarks.extract_work import video_frames
from stages.extract.datasets.folder import Folder


def test_drawn_pictures_and_videos_are_what_stage_1_reads(tmp_path):
    paths = write_pictures(tmp_path / "pictures" / "a", 3, side_px=64)
    write_video(tmp_path / "videos" / "a.mp4", 3, side_px=64)
    pictures, videos = Folder(tmp_path / "pictures"), Folder(tmp_path / "videos")
    assert len(paths) == len(pictures.plan()) == len(videos.plan()) == 3
    for row, frame in enumerate(video_frames(tmp_path / "videos" / "a.mp4")):
        np.testing.assert_array_equal(videos.load_image(row), frame[..., ::-1])
        difference = pictures.load_image(row).astype(int) - videos.load_image(row)
        assert np.abs(difference).mean() < 12  # both are compressed


def test_without_a_gpu_nothing_is_measured_on_one(capsys, monkeypatch):
    from benchmarks import extract_speed

    monkeypatch.setattr(sys, "argv", ["extract_speed", "--device", "cuda"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    extract_speed.main()
    assert capsys.readouterr().out == "not measured: no CUDA device\n"


@pytest.mark.slow
def test_the_benchmark_runs():
    command = [sys.executable, "-m", "benchmarks.extract_speed", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "posecache, folded norms" in ended.stdout
    assert "decode + crop" in ended.stdout
