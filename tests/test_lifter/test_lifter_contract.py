"""What every lifter promises, whatever it does inside."""

from __future__ import annotations

import inspect
import math
from pathlib import Path
from typing import Any, ClassVar

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from lifter import LIFTERS, Lifter, LifterConfig, param_groups
from lifter.errors import LifterError
from lifter.models.base import prediction
from tests.test_lifter.lifters import (
    NUM_FRAMES,
    Inputs,
    inputs,
    names,
    small,
    windowed,
    with_features,
    without_features,
)

LEARNED = 0.5  # of the error of the best constant pose
MAX_STEPS = 400


@pytest.mark.parametrize("name", names())
def test_a_lifter_says_what_it_reads_and_where_it_comes_from(name: str) -> None:
    kind = LIFTERS[name]
    assert kind.name == name
    assert isinstance(kind.uses_features, bool)
    assert kind.reads_windows or not kind.predicts_windows
    assert kind.__doc__
    assert kind.__doc__ != Lifter.__doc__


@pytest.mark.parametrize("num_joints", [17, 14])
@pytest.mark.parametrize("name", names())
def test_predictions_are_finite_metres_of_the_targets_shape(name: str, num_joints: int) -> None:
    given = inputs(name, num_joints=num_joints)
    model = small(name, num_joints=num_joints).eval()
    with torch.no_grad():
        output = given.answer(model)
    assert isinstance(output, Tensor), "only training may return more than the poses"
    assert output.shape == given.target_m.shape
    assert output.dtype == torch.float32
    assert output.isfinite().all()
    assert output.abs().max() < 10, "a person is metres tall, not millimetres"


@pytest.mark.parametrize("name", names())
def test_training_reaches_every_parameter(name: str) -> None:
    model, given = small(name).train(), inputs(name)
    loss = model.loss(given.answer(model), given.target_m, None)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
    assert all(param_groups(model).values())


@pytest.mark.parametrize("name", names())
def test_what_has_no_label_counts_for_nothing(name: str) -> None:
    model, given = small(name).train(), inputs(name)
    valid = torch.ones(given.target_m.shape[:-1], dtype=torch.bool)
    valid[2:4] = False
    valid[5, ..., 3] = False
    changed = torch.where(valid[..., None], given.target_m, given.target_m + 7.0)
    losses = []
    for target_m in (given.target_m, changed):
        torch.manual_seed(0)
        losses.append(float(model.loss(given.answer(model), target_m, valid).detach()))
    torch.manual_seed(0)
    counted = float(model.loss(given.answer(model), changed, None).detach())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
    assert counted != pytest.approx(losses[0], rel=1e-3)


def constant_error_m(target_m: Tensor) -> float:
    mean = target_m.flatten(0, -3).mean(0)
    return float((target_m - mean).norm(dim=-1).mean())


def learn(model: Lifter, given: Inputs, *, steps: int = MAX_STEPS) -> float:
    """Trains on one batch; returns the last MPJPE in metres, in evaluation mode."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.0)
    goal_m = LEARNED * constant_error_m(given.target_m)
    error_m = math.inf
    for step in range(steps):
        model.train()
        torch.manual_seed(step)
        loss = model.loss(given.answer(model), given.target_m, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 25 == 24:
            error_m = float((given.predict(model) - given.target_m).norm(dim=-1).mean())
            if error_m < goal_m:
                break
    return error_m


@pytest.mark.parametrize("name", names())
def test_eight_samples_can_be_learned_by_heart(name: str) -> None:
    given = inputs(name)
    error_m = learn(small(name, width=32), given)
    assert error_m < LEARNED * constant_error_m(given.target_m)


def test_a_lifter_that_ignores_its_input_does_not_pass_as_learning() -> None:
    class Constant(Lifter):
        uses_features: ClassVar[bool] = False

        def __init__(self) -> None:
            super().__init__()
            self.pose = nn.Parameter(torch.zeros(17, 3))

        def forward(self, keypoints_2d: Tensor, *others: object, **more: object) -> Tensor:
            del others, more
            return self.pose.expand(len(keypoints_2d), -1, -1)

    given = inputs("pose_only")
    assert learn(Constant(), given, steps=200) > 0.9 * constant_error_m(given.target_m)


@pytest.mark.parametrize("name", names())
def test_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    model, given = small(name), inputs(name)
    path = tmp_path / "weights.safetensors"
    path.write_bytes(safetensors.torch.save(dict(model.state_dict())))
    other = small(name, seed=5)
    before = given.predict(other)
    other.load_state_dict(safetensors.torch.load_file(path))
    expected = given.predict(model)
    assert torch.equal(given.predict(other), expected)
    assert not torch.equal(before, expected)


@pytest.mark.parametrize("name", names())
def test_evaluation_is_deterministic_and_leaves_its_inputs_alone(name: str) -> None:
    model, given = small(name), inputs(name)
    tensors = [given.keypoints_2d, given.reference_points, *(given.levels or [])]
    copies = [tensor.clone() for tensor in tensors]
    torch.manual_seed(0)
    first = given.predict(model)
    torch.manual_seed(1)
    assert torch.equal(given.predict(model), first)
    assert all(torch.equal(a, b) for a, b in zip(tensors, copies, strict=True))


@pytest.mark.parametrize("name", names())
def test_a_sample_is_lifted_alike_alone_and_in_a_batch(name: str) -> None:
    model, given = small(name), inputs(name)
    together = given.predict(model)
    rows = slice(1, 2) if given.window_rows is None else given.window_rows[1]
    alone = given.predict(
        model,
        keypoints_2d=given.keypoints_2d[1:2],
        reference_points=given.reference_points[rows],
        levels=None if given.levels is None else [level[rows] for level in given.levels],
        window_rows=None if given.window_rows is None else torch.arange(NUM_FRAMES)[None],
    )
    torch.testing.assert_close(alone[0], together[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_bfloat16_changes_little(name: str) -> None:
    model, given = small(name), inputs(name)
    exact = given.predict(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = given.predict(model).float()
    scale = float(exact.std())
    assert float((rounded - exact).abs().mean()) < 0.03 * scale
    assert not torch.equal(rounded, exact), "nothing ran in bfloat16"


@pytest.mark.parametrize("name", without_features())
def test_without_features_a_lifter_needs_keypoints_only(name: str) -> None:
    model, given = small(name), inputs(name)
    expected = given.predict(model)
    with torch.no_grad():
        assert torch.equal(prediction(model(given.keypoints_2d)), expected)
        maps = inputs("capf").levels
        assert torch.equal(
            prediction(model(given.keypoints_2d, given.reference_points, maps)), expected
        )


@pytest.mark.parametrize("name", with_features())
def test_a_lifter_with_features_looks_at_every_level(name: str) -> None:
    model, given = small(name).train(), inputs(name)
    assert given.levels is not None
    learn(model, given, steps=25)  # weights that start at zero hide what they multiply
    expected = given.predict(model)
    for index in range(len(given.levels)):
        others = list(given.levels)
        others[index] = others[index] + torch.randn_like(others[index])
        assert not torch.equal(given.predict(model, levels=others), expected), index


@pytest.mark.parametrize("name", with_features())
def test_missing_and_wrong_levels_are_refused(name: str) -> None:
    model, given = small(name), inputs(name)
    assert given.levels is not None
    for levels in (None, given.levels[:1], given.levels[::-1]):
        with pytest.raises(LifterError, match="levels"):
            given.predict(model, levels=levels)


@pytest.mark.parametrize("name", [name for name in windowed() if LIFTERS[name].uses_features])
def test_frames_that_windows_share_may_be_there_once(name: str) -> None:
    model, given = small(name), inputs(name, batch=4)
    assert given.levels is not None
    rows = torch.tensor([[0, 1, 2], [1, 2, 3], [2, 3, 3], [4, 5, 0]])
    expanded = rows.flatten()
    keypoints = given.keypoints_2d.flatten(0, 1)
    shared = given.predict(model, keypoints_2d=keypoints[rows], window_rows=rows)
    apart = given.predict(
        model,
        keypoints_2d=keypoints[rows],
        reference_points=given.reference_points[expanded],
        levels=[level[expanded] for level in given.levels],
        window_rows=torch.arange(12).view(4, 3),
    )
    torch.testing.assert_close(shared, apart, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", windowed())
def test_every_frame_of_a_window_matters(name: str) -> None:
    model, given = small(name), inputs(name)
    learn(model, given, steps=25)
    expected = given.predict(model)
    for frame in range(NUM_FRAMES):
        moved = given.keypoints_2d.clone()
        moved[:, frame] += 0.1
        assert not torch.equal(given.predict(model, keypoints_2d=moved), expected), frame


@pytest.mark.parametrize("name", [name for name in names() if name not in windowed()])
def test_single_frame_lifters_refuse_windows(name: str) -> None:
    with pytest.raises(LifterError, match="num_frames"):
        small(name, num_frames=9)


@pytest.mark.parametrize("name", names())
def test_options_of_another_lifter_are_refused_by_name(name: str) -> None:
    config = LifterConfig(name=name, width=16, num_heads=2, options={"no_such_option": 1})
    with pytest.raises(LifterError, match="no_such_option"):
        LIFTERS[name].from_config(config, level_channels=(6, 8), num_joints=17)


@pytest.mark.parametrize(
    ("setting", "value"), [("reference_rule", "geometric"), ("context_dropout", 0.5)]
)
@pytest.mark.parametrize("name", with_features())
def test_no_setting_of_reading_maps_is_without_effect(name: str, setting: str, value: Any) -> None:
    if setting not in inspect.signature(LIFTERS[name]).parameters:
        with pytest.raises(LifterError, match=setting):
            small(name, **{setting: value})
        return
    changed = small(name, **{setting: value})
    model, given = small(name).train(), inputs(name)
    outputs = []
    for each in (model, changed.train()):
        torch.manual_seed(0)
        outputs.append(prediction(given.answer(each)))
    assert not torch.equal(*outputs)
