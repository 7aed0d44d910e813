"""The tapped network: folded norms, precision, and what of that is part of its identity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pipeline.detectors import SHIPPED
from stages.devices import DeviceError
from stages.extract.detectors.base import DetectorError, Tap
from stages.extract.detectors.folding import fold_norms
from stages.extract.detectors.mmpose.topdown import MmposeTopdown
from stages.extract.detectors.network import TappedNetwork

SYNTHETIC = SHIPPED / "synthetic"


class Branching(nn.Module):
    """Convolutions whose norms may be folded, and some whose norms must not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8))
        self.conv1, self.bn1 = nn.Conv2d(8, 8, 3, padding=1, groups=4), nn.BatchNorm2d(8)
        self.read_twice, self.norm_of_one = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.used_twice, self.norm_a, self.norm_b = (
            nn.Conv2d(8, 8, 1),
            *(nn.BatchNorm2d(8) for _ in range(2)),
        )
        self.tapped, self.norm_after_tap = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)
        self.returned, self.norm_of_returned = nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        x = torch.relu_(self.stem(x))
        x = x + self.bn1(self.conv1(x))
        raw = self.read_twice(x)
        x = self.norm_of_one(raw) * raw
        x = self.norm_a(self.used_twice(x)) + self.norm_b(self.used_twice(x + 1))
        x = self.norm_after_tap(self.tapped(x))
        back = self.returned(x)
        return self.norm_of_returned(back), back


def branching(seed: int = 0) -> Branching:
    torch.manual_seed(seed)
    model = Branching().eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.uniform_(-1.5, 1.5)
            module.bias.normal_()
    return model


def network(model: nn.Module, **options: Any) -> TappedNetwork:
    taps = (Tap("x2", "tapped", 2),)
    normalisation = {"mean": [120.0] * 3, "std": [60.0] * 3}
    return TappedNetwork(model, taps, input_size=(16, 12), **normalisation, **options)


@pytest.fixture(scope="module")
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 16, 12, 3), dtype=np.uint8)


def test_only_norms_whose_convolution_nothing_else_reads_are_folded() -> None:
    model = branching()
    example = torch.randn(2, 3, 16, 12)
    before = [value.clone() for value in model(example)]
    assert fold_norms(model, model, example, keep=("tapped",)) == 2
    left = {name for name, module in model.named_modules() if isinstance(module, nn.BatchNorm2d)}
    assert left == {"norm_of_one", "norm_a", "norm_b", "norm_after_tap", "norm_of_returned"}
    for old, new in zip(before, model(example), strict=True):
        torch.testing.assert_close(new, old, rtol=1e-5, atol=1e-5)


def test_folding_that_changes_more_than_rounding_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from stages.extract.detectors import folding

    def wrong(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
        fused = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
        fused.bias.data += 1e-2
        return fused

    monkeypatch.setattr(folding, "fuse_conv_bn_eval", wrong)
    model = branching()
    with pytest.raises(DetectorError, match=r"more than rounding.*detector\.fold_norms=false"):
        fold_norms(model, model, torch.randn(1, 3, 16, 12))


def test_levels_of_a_folded_network_agree_and_its_identity_says_so(
    crops: NDArray[np.uint8],
) -> None:
    plain, folded = network(branching()), network(branching(), fold_norms=True)
    before, after = plain.run(crops)[1]["x2"], folded.run(crops)[1]["x2"]
    assert 0 < np.abs(after - before).max() < 1e-4 * np.abs(before).max()
    assert "fold_norms" not in plain.identity()  # as stores from before there was the choice
    assert folded.identity() == {**plain.identity(), "fold_norms": True}
    assert network(branching(1), fold_norms=True).identity() != folded.identity()


def test_precision_and_memory_layout_are_part_of_the_identity() -> None:
    identities = [
        network(branching(), **options).identity()
        for options in ({}, {"precision": "bfloat16"}, {"channels_last": False})
    ]
    assert len({str(each) for each in identities}) == 3
    with pytest.raises(DeviceError, match="for GPUs"):
        network(branching(), precision="float16")


def test_an_unknown_tap_is_named_before_anything_is_folded() -> None:
    with pytest.raises(DetectorError, match=r"no module 'nothing'"):
        TappedNetwork(
            branching(),
            (Tap("x2", "nothing", 2),),
            input_size=(16, 12),
            mean=[0.0] * 3,
            std=[1.0] * 3,
            fold_norms=True,
        )


@pytest.fixture(scope="module")
def drawn() -> NDArray[np.uint8]:
    """Crops of drawn people for the shipped detector, [16, 192, 160, 3]."""
    from stages.extract.crops import CropConfig
    from stages.extract.datasets import build_dataset
    from stages.extract.frames import FrameTask

    pool = {"prefix": "T", "num_subjects": 2, "clips_each": 1, "frames": 2}
    dataset = build_dataset("synthetic", pools={"train": pool})
    plan = dataset.plan()
    rows = range(0, 16, 2)
    task = FrameTask(dataset, CropConfig(input_size=(192, 160)), plan, rows)
    return np.concatenate([task(row).crops for row in rows])


def shipped(**options: Any) -> MmposeTopdown:
    files = SYNTHETIC / "detector.json", SYNTHETIC / "weights.safetensors"
    return MmposeTopdown(*files, threads=1, **options)


def mean_distance_px(a: NDArray[np.float32] | None, b: NDArray[np.float32] | None) -> float:
    assert a is not None
    assert b is not None
    return float(np.linalg.norm(a[..., :2] - b[..., :2], axis=-1).mean())


def test_bfloat16_keeps_joints_within_a_tenth_of_a_pixel(drawn: NDArray[np.uint8]) -> None:
    exact = shipped().detect(drawn).keypoints_crop_px
    rounded = shipped(precision="bfloat16").detect(drawn).keypoints_crop_px
    assert 0 < mean_distance_px(exact, rounded) < 0.1
    assert mean_distance_px(exact, exact + 0.2) > 0.1  # what the test must refuse


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_half_precision_on_a_gpu_keeps_joints_within_a_tenth_of_a_pixel(
    drawn: NDArray[np.uint8], precision: str
) -> None:
    exact = shipped().detect(drawn).keypoints_crop_px
    rounded = shipped(precision=precision, device="cuda").detect(drawn).keypoints_crop_px
    assert mean_distance_px(exact, rounded) < 0.1
