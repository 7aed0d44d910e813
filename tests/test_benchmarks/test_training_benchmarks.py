import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks import steps
from benchmarks.devices import bfloat16_is_fast, device_name
from benchmarks.made_reader import SPLIT, MadeReader
from benchmarks.made_store import LEVELS
from benchmarks.rate_plot import plot_rates
from benchmarks.resident_epoch import ResidentTraining
from benchmarks.training_step import QUICK, STEP, Bench
from stages.lift.config import DataConfig, TrainConfig

CPU = torch.device("cpu")


class Pooled(nn.Module):
    """Instead of the network: maps of the right sizes, in no time."""

    def __init__(self) -> None:
        super().__init__()
        self.num_calls = 0

    def forward(self, crops: torch.Tensor) -> list[torch.Tensor]:
        self.num_calls += 1
        grey = crops.float().mean(-1)[:, None] / 255
        pooled = [nn.functional.avg_pool2d(grey, level.stride) for level in LEVELS]
        return [
            each.expand(-1, level.channels, -1, -1)
            for each, level in zip(pooled, LEVELS, strict=True)
        ]


@pytest.fixture
def bench(monkeypatch) -> Bench:
    network = Pooled()
    monkeypatch.setattr(steps, "network", lambda _precision="float32": network)
    bench = Bench(QUICK, CPU, compiled=())
    bench.layouts = {steps.PUBLISHED: "contiguous", steps.ON_MAPS: "contiguous"}
    return bench


@pytest.mark.slow
def test_steps_of_all_contenders_are_compared_with_the_published_design(bench):
    bench.steps()
    rows = [row for row in bench.rows if row.work.startswith(STEP)]
    assert [row.contender for row in rows] == [
        "published",
        "published lifter on cached maps",
        "posecache",
        "posecache uint8",
    ]
    assert all(row.baseline == "published" and row.value > 0 for row in rows)
    peaks = {row.contender: row.value for row in bench.rows if row.unit == "MB"}
    assert len(peaks) == 4
    assert peaks["posecache"] > 50  # of gradients alone there are 56 MB
    assert steps.network().num_calls == 1 + 1 + 1  # warm-up, time, memory


def test_rows_have_the_baseline_of_their_own_precision(bench):
    baselines = {"published": "published", "posecache, bfloat16": "published, bfloat16"}
    baselines["published, bfloat16"] = "published, bfloat16"
    times = {"published": [1.0], "published, bfloat16": [0.5], "posecache, bfloat16": [0.1]}
    bench._compare("a work", times, baselines, batch=2)
    ratios = {row.contender: row.ratio for row in bench.rows}
    assert ratios["posecache, bfloat16"] == pytest.approx(5.0)


def test_epochs_feed_pictures_to_the_published_design_and_maps_to_the_others(bench, tmp_path):
    bench.epochs(tmp_path)
    speeds = [row for row in bench.rows if row.unit == "frames/s"]
    waits = [row for row in bench.rows if row.unit == "% of the time"]
    assert len(speeds) == len(waits) == 4
    assert steps.network().num_calls == 2 * QUICK.epoch_steps


def test_an_epoch_on_resident_maps_runs_what_training_runs():
    config = TrainConfig(data=DataConfig(train_split=SPLIT), batch_size=3, flip=True)
    training = ResidentTraining(MadeReader(4, dtype="uint8"), config, CPU)
    assert training.steps == 2
    row_bytes = sum(np.prod(level.map_shape) for level in LEVELS)
    assert training.data.maps_bytes == 4 * 2 * row_bytes
    before = training.step.state.model.decoder.position.weight.clone()
    training()
    assert not torch.equal(before, training.step.state.model.decoder.position.weight)
    inside = np.abs(training.data.samples.reference_points)
    assert inside.max() <= 0.82
    assert inside.min() < 0.1


def test_without_a_gpu_a_resident_epoch_is_not_measured(capsys, monkeypatch):
    from benchmarks import resident_epoch

    monkeypatch.setattr(sys, "argv", ["resident_epoch"])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    resident_epoch.main()
    printed = capsys.readouterr().out
    assert printed.startswith("not measured: no CUDA device")
    assert "312,000 frames, 57.5 GB" in printed


def test_bfloat16_arithmetic_is_told_from_the_flags_of_the_processor(tmp_path):
    for flags, expected in (
        ("flags\t\t: fpu avx2", False),
        ("flags\t\t: fpu avx512f amx_bf16 amx_tile", True),
        ("Features\t: fp asimd bf16", True),
        ("model name : a bf16", False),
    ):
        (tmp_path / "cpuinfo").write_text(f"processor : 0\n{flags}\n")
        assert bfloat16_is_fast(tmp_path / "cpuinfo") is expected
    assert bfloat16_is_fast(tmp_path / "absent") is False
    assert device_name(CPU) == "cpu"


def test_frames_per_second_are_drawn_against_batch_size(tmp_path):
    path = tmp_path / "rates.png"
    plot_rates({"a": {1: 2.0, 8: 9.0}, "once": {8: 3.0}}, path, title="cpu")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["training_step", "step_profile", "resident_epoch"])
def test_the_benchmark_runs(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--quick"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "posecache" in ended.stdout or "capf" in ended.stdout
