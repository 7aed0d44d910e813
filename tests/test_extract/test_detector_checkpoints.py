from __future__ import annotations

import json
import os
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from typer.testing import CliRunner

from stages.extract.detectors.base import DetectorError
from stages.extract.detectors.checkpoint_files import convert_checkpoint, read_state
from stages.extract.detectors.checkpoints import load_weights
from stages.extract.detectors.mmpose.network import import_mmpose
from tests.test_extract.presets import build_preset


class Estimator(nn.Module):
    """A backbone and a head, as small as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 2, 3), bn1=nn.BatchNorm2d(2)))
        self.head = nn.Sequential(OrderedDict(final_layer=nn.Conv2d(2, 17, 1)))


def state_of(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return dict(Estimator().state_dict())


def mmengine_checkpoint(state: dict[str, Tensor]) -> dict[str, Any]:
    """Return what mmengine's runner saves, log and data set description included."""
    import_mmpose()
    from mmengine.config import ConfigDict
    from mmengine.logging import MessageHub

    hub = MessageHub("test_detector_checkpoints")
    for loss in (0.5, 0.25):
        hub.update_scalar("train/loss", loss)
    hub.update_scalar("train/acc", torch.tensor(0.5))
    hub.update_info("iter", 3)
    described = {
        "dataset_name": "coco",
        "sigmas": np.ones(17, dtype=np.float32),
        "keypoint_colors": np.zeros((17, 3), dtype=np.uint8),
        "mean": np.float64(0.5),
        "flip_pairs": [("left_eye", "right_eye")],
        "info": ConfigDict(year=2020, homepage=[""]),
    }
    return {
        "meta": {"epoch": 1, "iter": 3, "seed": 21, "cfg": "model = dict()", "time": "now"}
        | {"dataset_meta": described, "experiment_name": "x", "mmengine_version": "0.10.7"},
        "state_dict": OrderedDict(state),
        "message_hub": hub.state_dict(),
        "optimizer": {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-3}]},
        "param_schedulers": [{"last_step": 3}],
        "ema_state_dict": OrderedDict({f"module.{k}": v + 1 for k, v in state.items()}),
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy, as published"])
def test_a_checkpoint_of_mmengine_is_read_and_its_log_is_left_alone(
    tmp_path: Path, zipped: bool
) -> None:
    state = state_of()
    file = tmp_path / "epoch_1.pth"
    torch.save(mmengine_checkpoint(state), file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(Exception, match=r"HistoryBuffer|numpy"):
        torch.load(file, weights_only=True)  # PyTorch alone refuses it
    found = read_state(file)
    assert found.keys() == state.keys()
    model = Estimator()
    load_weights(model, file)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])  # the averaged weights, not ema_state_dict


class _Call:
    """Pickles as a call of a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self._call


def _make(path: str) -> None:
    Path(path).touch()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    ("function", "convertible"),
    [(os.system, False), (os.mkdir, False), (eval, True), (exec, True), (_make, True)],
)
def test_a_pickle_that_calls_functions_is_never_run(
    tmp_path: Path, function: Callable[..., Any], convertible: bool, zipped: bool
) -> None:
    mark = tmp_path / "mark"
    argument = {
        os.system: f"touch {mark}",
        eval: f"__import__('pathlib').Path({str(mark)!r}).touch()",
        exec: f"__import__('pathlib').Path({str(mark)!r}).touch()",
    }.get(function, str(mark))
    file, target = tmp_path / "evil.pth", tmp_path / "kept.safetensors"
    state = state_of()
    held = {"state_dict": state, "meta": _Call(function, argument)}
    torch.save(held, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(DetectorError, match=r"more than tensors \(it names .*nothing in it was"):
        load_weights(Estimator(), file)
    if convertible:
        done = convert_checkpoint(file, target)
        assert len(done.dropped) == 1
        assert done.dropped[0].endswith(function.__name__)
        assert load_file(target).keys() == state.keys()
    else:
        with pytest.raises(DetectorError, match="get the checkpoint from its publisher"):
            convert_checkpoint(file, target)
        assert not target.exists()
    assert not mark.exists()
    torch.load(file, weights_only=False)
    assert mark.exists()  # the file is what it claims to be: PyTorch unguarded runs it


def test_a_converted_checkpoint_gives_the_same_detector(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v.clone() for k, v in build_preset("mobilenetv2").model.state_dict().items()}
    held = mmengine_checkpoint(state)
    held["meta"]["folder"] = Path("x")
    file, target = tmp_path / "a.pth", tmp_path / "a.safetensors"
    torch.save(held, file)
    with pytest.raises(DetectorError, match=r"names pathlib.*convert-checkpoint \S+a\.pth NEW"):
        build_preset("mobilenetv2", file)
    from pipeline.cli import app

    ended = CliRunner().invoke(
        app, ["convert-checkpoint", str(file), str(target), "--json"], catch_exceptions=False
    )
    told = json.loads(ended.stdout)
    assert told["num_tensors"] == len(state)
    assert all(name.startswith("pathlib") for name in told["dropped"])
    del held["meta"]["folder"]
    torch.save(held, file)
    expected = build_preset("mobilenetv2", file).identity()
    assert build_preset("mobilenetv2", target).identity() == expected
    with pytest.raises(DetectorError, match="exists already"):
        convert_checkpoint(file, target)


def test_conversion_refuses_what_it_cannot_write_or_read(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save({"state_dict": state_of()}, file)
    for target, match in (
        (tmp_path / "a.pt", r"ends in \.safetensors"),
        (tmp_path / "none" / "a.safetensors", "folder does not exist"),
    ):
        with pytest.raises(DetectorError, match=match):
            convert_checkpoint(file, target)
    torch.save({"meta": {}, "optimizer": {}}, file)
    with pytest.raises(DetectorError, match=r"no state dict \(found: meta, optimizer\)"):
        convert_checkpoint(file, tmp_path / "b.safetensors")
    file.write_bytes(b"junk" * 20)
    with pytest.raises(DetectorError, match="cannot be read as a checkpoint"):
        read_state(file)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_half_a_checkpoint_is_an_error_and_not_half_a_network(tmp_path: Path, zipped: bool) -> None:
    file = tmp_path / "a.pth"
    state = {"backbone.weight": torch.zeros(300, 300)}
    torch.save({"state_dict": state}, file, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DetectorError, match="damaged or incomplete"):
        read_state(file)


def test_heads_named_as_before_mmpose_1_are_read(tmp_path: Path) -> None:
    state = state_of()
    old = {
        name.replace("head.", "keypoint_head.") if name.startswith("head.") else name: value
        for name, value in state.items()
    }
    file = tmp_path / "litehrnet18_coco.pth"
    torch.save({"state_dict": old, "meta": {}}, file, _use_new_zipfile_serialization=False)
    model = Estimator()
    load_weights(model, file)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_what_a_checkpoint_is_instead_is_said(tmp_path: Path) -> None:
    state = state_of()
    backbone = {k: v for k, v in state.items() if k.startswith("backbone.")}
    bare = {k.removeprefix("backbone."): v for k, v in backbone.items()}
    cases: list[tuple[dict[str, Tensor], str]] = [
        (backbone, r"2 missing: head\.final_layer\.weight.*has a backbone and no head"),
        (bare, "bare backbone"),
        ({f"student.{k}": v for k, v in state.items()}, "distillation.*DWPose page"),
        ({f"ema_{k.replace('.', '_')}": v for k, v in state.items()}, "None of its names fit"),
        ({**state, "extra.weight": torch.zeros(1)}, r"1 unexpected: extra\.weight"),
        (
            {**state, "head.final_layer.weight": torch.zeros(26, 2, 1, 1)},
            r"1 of another shape: head\.final_layer\.weight \[26, 2, 1, 1\] instead of \[17, 2",
        ),
    ]
    file = tmp_path / "a.pth"
    for held, match in cases:
        torch.save({"state_dict": held}, file)
        model = Estimator()
        before = {k: v.clone() for k, v in model.state_dict().items()}
        with pytest.raises(DetectorError, match=match):
            load_weights(model, file)
        for name, value in model.state_dict().items():
            assert torch.equal(value, before[name])


def test_preprocessing_and_batch_counters_may_be_there_or_not(tmp_path: Path) -> None:
    state = state_of()
    held = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    held["data_preprocessor.mean"] = torch.zeros(3, 1, 1)
    torch.save({"state_dict": held}, tmp_path / "a.pth")
    load_weights(Estimator(), tmp_path / "a.pth")
