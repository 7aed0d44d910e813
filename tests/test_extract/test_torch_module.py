from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from stages.extract.detectors.base import DetectorError, FrozenDetector
from stages.extract.detectors.features.network import FeatureNetwork
from stages.extract.detectors.features.torch_module import build_torch_module

HEADER = """
from __future__ import annotations
from dataclasses import dataclass
import torch
from torch import nn

@dataclass
class Size:
    height: int
    width: int

class Net(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.fine = nn.Conv2d(3, channels, 4, stride=4)
        self.coarse = nn.Conv2d(channels, 2 * channels, 2, stride=2)
        self.input_size, self.mean, self.std = (32, 24), (0.4, 0.5, 0.6), (0.2, 0.25, 0.5)
    def forward(self, crops):
        fine = self.fine(crops)
        return {"deep": self.coarse(fine), "shallow": fine}
"""
PLAIN = "def build(channels=4):\n    return Net(channels)\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "net.py"
    path.write_text(HEADER + PLAIN)
    return path


@pytest.fixture
def crops() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (3, 32, 24, 3), dtype=np.uint8)


def build(path: Path, **options: Any) -> FeatureNetwork:
    return build_torch_module(f"{path}:build", options, threads=1)


def body(path: Path, forward: str, *, head: str = "") -> Path:
    path.write_text(
        f"{HEADER}\nclass Other(Net):\n    {head or 'extra = None'}\n"
        f"    def forward(self, crops):\n        fine = self.fine(crops)\n        {forward}\n"
        "def build():\n    return Other(4)\n"
    )
    return path


def test_a_users_module_is_a_detector_without_joints(file: Path, crops: NDArray[np.uint8]) -> None:
    source: FrozenDetector = build(file)
    assert isinstance(source, FrozenDetector)
    assert source.skeleton is None
    assert source.input_size == (32, 24)
    assert [(level.name, level.stride, level.map_shape) for level in source.levels] == [
        ("shallow", 4, (8, 6, 4)),
        ("deep", 8, (4, 3, 8)),
    ]
    before = crops.copy()
    found = source.detect(crops)
    np.testing.assert_array_equal(crops, before)
    assert found.keypoints_crop_px is None
    for level in source.levels:
        assert found.features[level.name].shape == (3, *level.map_shape)
        assert found.features[level.name].dtype == np.float32


def test_crops_are_normalised_on_the_scale_of_0_to_1(file: Path, crops: NDArray[np.uint8]) -> None:
    source = build(file)
    weights = {
        name.removeprefix("network."): value
        for name, value in source._network.model.state_dict().items()
    }
    inputs = (crops.astype(np.float64) / 255 - (0.4, 0.5, 0.6)) / (0.2, 0.25, 0.5)
    patches = inputs.reshape(3, 8, 4, 6, 4, 3)  # B, rows of cells, their px, columns, their px, RGB
    expected = np.einsum(
        "bhiwjc,kcij->bhwk", patches, weights["fine.weight"].numpy().astype(np.float64)
    )
    expected += weights["fine.bias"].numpy()
    np.testing.assert_allclose(source.detect(crops).features["shallow"], expected, atol=1e-5)


@pytest.mark.slow
def test_random_weights_are_the_same_in_every_process(file: Path) -> None:
    code = (
        "from stages.extract.detectors.features.torch_module import build_torch_module as b;"
        f"print(b({f'{file}:build'!r}).identity()['weights'])"
    )
    torch.manual_seed(7)
    mine = build(file).identity()["weights"]
    before = torch.get_rng_state()
    assert build(file).identity()["weights"] == mine
    assert torch.equal(torch.get_rng_state(), before)
    other = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert other.stdout.strip() == mine


def test_identity_covers_weights_options_and_source_but_no_path(file: Path, tmp_path: Path) -> None:
    identity = build(file).identity()
    assert str(tmp_path) not in str(identity)
    assert (identity["kind"], identity["model"]) == ("torch-module", "net.py:build")
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    (moved / "net.py").write_bytes(file.read_bytes())
    assert build(moved / "net.py").identity() == identity
    assert build(file, channels=5).identity()["options"] == {"channels": 5}
    file.write_text(file.read_text().replace("(0.2, 0.25, 0.5)", "(0.2, 0.25, 0.4)"))
    changed = build(file).identity()
    assert changed["source"] != identity["source"]
    assert changed["normalisation"] != identity["normalisation"]
    assert changed["weights"] == identity["weights"]


def test_weights_are_loaded_whole_or_not_at_all(file: Path, tmp_path: Path) -> None:
    state = {
        "fine.weight": torch.full((4, 3, 4, 4), 0.5),
        "fine.bias": torch.zeros(4),
        "coarse.weight": torch.ones(8, 4, 2, 2),
        "coarse.bias": torch.zeros(8),
    }
    path = tmp_path / "weights.safetensors"
    save_file(state, path)
    source = build_torch_module(f"{file}:build", {}, path)
    white = np.full((1, 32, 24, 3), 255, dtype=np.uint8)
    sum_of_pixel = (1 - 0.4) / 0.2 + (1 - 0.5) / 0.25 + (1 - 0.6) / 0.5
    maps = source.detect(white).features["shallow"]
    np.testing.assert_allclose(maps, 0.5 * 16 * sum_of_pixel, rtol=1e-5)
    save_file({**state, "fine.bias": torch.zeros(5)}, path)
    with pytest.raises(DetectorError, match=r"fine\.bias \[5\] instead of \[4\]"):
        build_torch_module(f"{file}:build", {}, path)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        ("return fine", "returns Tensor; it must return a dict"),
        ("return {}", "must return a dict from level names"),
        ("return {'x4': fine.flatten(2)}", r"Level 'x4' of the network is \[1, 4, 48\]"),
        ("return {'x4': fine[:, :, :7]}", "7x6 cells for crops of 32x24: not one whole number"),
        ("return {'x4': torch.rand_like(fine)}", "not the same twice for one crop"),
        ("return {'x4': fine - fine.mean(0)}", "not the same twice for one crop"),
        ("return {'x4': fine / 0}", "is not finite on a crop of noise"),
    ],
)
def test_maps_that_cannot_be_stored_are_refused(file: Path, forward: str, message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        build(body(file, forward))


def test_dropout_is_off_since_the_network_runs_in_eval_mode(file: Path) -> None:
    path = body(file, "return {'x4': nn.functional.dropout(fine, 0.5, self.training)}")
    assert build(path).levels[0].name == "x4"
    path = body(file, "return {'x4': nn.functional.dropout(fine, 0.5, True)}")
    with pytest.raises(DetectorError, match="switch dropout and batch statistics off"):
        build(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("(0.4, 0.5, 0.6)", "(123.7, 116.3, 103.5)"), "scale 0 to 1"),
        (("(0.2, 0.25, 0.5)", "(58.4, 57.1, 57.4)"), "scale 0 to 1"),
        (("self.input_size, self.mean", "self.size, self.mean"), r"\(missing: input_size\)"),
        (("return Net(channels)", "return 3"), "returns int; it must return a torch.nn.Module"),
        (("return Net(channels)", "return 1 / 0"), "failed with options {}: ZeroDivisionError"),
        (("def build", "def make"), "has no function 'build'"),
        (("import torch\n", "import torhc\n"), "importing it failed: ModuleNotFoundError"),
    ],
)
def test_functions_that_build_no_source_are_refused(
    file: Path, change: tuple[str, str], message: str
) -> None:
    file.write_text(file.read_text().replace(*change))
    with pytest.raises(DetectorError, match=message):
        build(file)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("nowhere.py:build", "there is no file nowhere.py"),
        ("no.such.package:build", "there is no module 'no.such.package' to import"),
        ("net.py", "expected package.module:function or file.py:function"),
    ],
)
def test_references_to_nothing_are_refused(reference: str, message: str) -> None:
    with pytest.raises(DetectorError, match=message):
        build_torch_module(reference)


def test_an_importable_module_is_named_without_a_path(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(file.parent))
    file.rename(file.parent / "own_network_of_a_test.py")
    source = build_torch_module("own_network_of_a_test:build", {"channels": 6})
    assert source.levels[0].channels == 6
