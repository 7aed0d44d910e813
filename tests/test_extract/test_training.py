from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.extract.crops import CropConfig
from stages.extract.datasets import DatasetError
from stages.extract.datasets.human36m.mmpose import Human36m
from stages.extract.detectors.base import DetectorError
from stages.extract.loading import Loader
from stages.extract.training.crops import AugmentConfig, TrainingCrops
from stages.extract.training.error import detector_error
from stages.extract.training.heatmaps import heatmap_loss
from stages.extract.training.train import NetworkConfig, TrainDetectorConfig, train_detector
from tests.test_extract.studio import DotDetector

TINY = TrainDetectorConfig(
    network=NetworkConfig(base_channels=8, bottleneck_channels=4, num_blocks=1),
    crop=CropConfig(input_size=(64, 64)),
    augment=AugmentConfig(scale=0.1, rotated=0, flipped=0, colour=0, occluded=0),
    batch_size=6,
    steps=8,
    eval_every=4,
    eval_rows=3,
    log_every=2,
    workers=0,
    threads=1,
)


def test_training_lowers_the_loss_and_writes_a_detector(dataset: Human36m, tmp_path: Path) -> None:
    config = TINY.model_copy(update={"steps": 30, "eval_every": 100})
    records: list[dict[str, object]] = []
    metrics = train_detector(dataset, dataset, config, tmp_path / "run", progress=records.append)
    losses = [float(str(record["loss"])) for record in records if "loss" in record]
    assert losses[-1] < losses[0] - 0.5
    assert metrics["validation"]["validation"]["num_rows"] == 3
    stored = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert stored["steps"] == 30
    assert (tmp_path / "run" / "weights.safetensors").stat().st_size < 8e6


def test_resumed_training_ends_with_the_same_weights(dataset: Human36m, tmp_path: Path) -> None:
    train_detector(dataset, None, TINY, tmp_path / "whole")

    class Killed(Exception):
        pass

    def die(record: dict[str, object]) -> None:
        if record["step"] == 4:
            raise Killed

    often = TINY.model_copy(update={"checkpoint_minutes": 1e-9})
    with pytest.raises(Killed):
        train_detector(dataset, None, often, tmp_path / "parts", progress=die)
    train_detector(dataset, None, TINY, tmp_path / "parts")
    whole = (tmp_path / "whole" / "weights.safetensors").read_bytes()
    assert (tmp_path / "parts" / "weights.safetensors").read_bytes() == whole


@pytest.mark.slow
def test_training_from_a_trained_detector_begins_where_that_one_ended(
    dataset: Human36m, tmp_path: Path
) -> None:
    def losses(config: TrainDetectorConfig, folder: Path) -> list[float]:
        records: list[dict[str, object]] = []
        train_detector(dataset, None, config, folder, progress=records.append)
        return [float(str(record["loss"])) for record in records if "loss" in record]

    first = losses(TINY.model_copy(update={"steps": 60}), tmp_path / "first")
    trained = str(tmp_path / "first" / "weights.safetensors")
    again = TINY.model_copy(update={"init": trained, "steps": 2, "learning_rate": 1e-9})
    (second,) = losses(again, tmp_path / "second")
    assert second < (first[0] + first[-1]) / 2


def test_state_of_another_configuration_is_refused(dataset: Human36m, tmp_path: Path) -> None:
    train_detector(dataset, None, TINY.model_copy(update={"steps": 1}), tmp_path)
    other = TINY.model_copy(update={"learning_rate": 1e-4})
    with pytest.raises(DetectorError, match="different: learning_rate"):
        train_detector(dataset, None, other, tmp_path)
    with pytest.raises(DatasetError, match="no usable row"):
        train_detector(dataset, None, TINY, tmp_path / "new", train_rows=[])


def test_loss_is_least_where_the_gaussian_is() -> None:
    joints = torch.tensor([[[40.0, 24.0]]])
    xs, ys = torch.arange(16.0), torch.arange(16.0)
    weights = torch.ones(1, 1)

    def logits(x: float, y: float) -> torch.Tensor:
        return (-((xs - x) ** 2)[None, :] - ((ys - y) ** 2)[:, None])[None, None] / (2 * 1.5**2)

    best = heatmap_loss(logits(10, 6), joints, weights, 1.5)
    assert best == pytest.approx(np.log(2 * np.pi * np.e * 1.5**2), abs=0.02)
    assert heatmap_loss(logits(11, 6), joints, weights, 1.5) > best + 0.1
    assert heatmap_loss(logits(10, 6) + 7, joints, weights, 1.5) == pytest.approx(
        float(best), abs=1e-4
    )
    assert heatmap_loss(logits(11, 6), joints, torch.zeros(1, 1), 1.5) == 0


def test_flipped_training_crops_exchange_sides(dataset: Human36m) -> None:
    plain = AugmentConfig(scale=0, rotated=0, shift=0, flipped=0, colour=0, occluded=0)
    crops = [
        TrainingCrops(dataset, [0], CropConfig(), plain.model_copy(update={"flipped": share}))
        for share in (0.0, 1.0)
    ]
    one, two = (task((0, 0))[0] for task in crops)
    np.testing.assert_allclose(one.crop[:, ::-1].astype(int), two.crop, atol=40)
    assert np.abs(one.crop[:, ::-1].astype(int) - two.crop).mean() < 1
    left, right = 4, 1
    assert two.joints_crop_px[left, 0] == pytest.approx(
        191 - one.joints_crop_px[right, 0], abs=1e-3
    )


def test_augmentation_moves_pixels_and_joints_together(dataset: Human36m) -> None:
    task = TrainingCrops(dataset, range(9), CropConfig(), AugmentConfig(colour=0, occluded=0), 3)
    hits = []
    for row in task.rows:
        for crop in task((row, 5)):
            for (x, y), weight in zip(
                crop.joints_crop_px.round().astype(int), crop.weights, strict=True
            ):
                if weight:
                    hits.append(crop.crop[y, x].max() > 60)
    assert len(hits) > 100
    assert np.mean(hits) > 0.97
    again = task((0, 5))[1]
    np.testing.assert_array_equal(again.crop, task((0, 5))[1].crop)


def test_error_of_a_known_detector(dataset: Human36m, layout: Path) -> None:
    (layout / "images" / dataset.plan().index["item"].words()[0]).unlink()
    report = detector_error(dataset, DotDetector(), range(9), batch_size=4)  # type: ignore[arg-type]
    assert report["all"].num_rows == 8
    assert report["train"].num_skipped == 1
    assert report["all"].mean_px < 1.0
    assert report["all"].pck == 1.0

    class Shifted(DotDetector):
        def detect(self, crops):  # type: ignore[no-untyped-def]
            found = super().detect(crops)
            found.keypoints_crop_px[..., 0] += 20
            return found

    off = detector_error(dataset, Shifted(), range(9), batch_size=4)  # type: ignore[arg-type]
    assert off["all"].mean_crop_px == pytest.approx(20, abs=2)
    assert off["all"].pck == 0.0


def square(number: int) -> int:
    if number == 13:
        raise ValueError("unlucky")
    return number * number


@pytest.mark.parametrize(
    ("workers", "processes"),
    [(0, False), (3, False), pytest.param(2, True, marks=pytest.mark.slow)],
)
def test_loaders_keep_the_order_and_raise_in_place(workers: int, processes: bool) -> None:
    with Loader(square, workers=workers, processes=processes) as loader:
        assert list(loader.map(range(12))) == [n * n for n in range(12)]
        results = loader.map(range(20))
        assert [next(results) for _ in range(13)] == [n * n for n in range(13)]
        with pytest.raises(ValueError, match="unlucky"):
            next(results)


def test_worker_processes_leave_with_a_killed_parent(tmp_path: Path) -> None:
    script = tmp_path / "main.py"
    script.write_text(
        "import time, os\nfrom stages.extract.loading import Loader\n"
        "def task(n):\n    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    loader = Loader(task, workers=1, processes=True)\n"
        "    print(next(loader.map([0])), flush=True)\n    time.sleep(60)\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=environment
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent")
