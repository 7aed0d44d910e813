"""A head that says how far off each joint may be: on every lifter, without a change of its pose."""

from __future__ import annotations

import io
import math
from pathlib import Path

import pytest
import torch
from scipy import integrate, stats
from torch import Tensor, nn

from lifter import LIFTERS, Lifter, LifterConfig, build_lifter, param_groups
from lifter.errors import LifterConfigError
from lifter.models.base import prediction
from lifter.uncertainty import ScaledLifter, laplace_nll, scale_m, with_scale
from tests.test_lifter.lifters import Inputs, inputs, names, small


def answer(model: Lifter, given: Inputs, **more: object) -> Tensor | tuple[Tensor, ...]:
    outputs: Tensor | tuple[Tensor, ...] = model(
        given.keypoints_2d,
        given.reference_points,
        given.levels,
        window_rows=given.window_rows,
        **more,
    )
    return outputs


def train(model: Lifter, given: Inputs, *, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    losses = []
    for step in range(steps):
        model.train()
        torch.manual_seed(step)
        loss = model.loss(answer(model, given), given.target_m, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_the_default_is_the_plain_lifter() -> None:
    assert type(small("pose_only")) is LIFTERS["pose_only"]
    assert LifterConfig().uncertainty is False
    assert LifterConfig().model_dump(exclude_defaults=True) == {}


@pytest.mark.parametrize("name", names())
def test_poses_and_losses_are_to_the_bit_those_without_the_head(name: str) -> None:
    given = inputs(name)
    plain, scaled = (small(name, drop_path=0.3, uncertainty=on) for on in (False, True))
    assert train(plain, given, steps=3) == train(scaled, given, steps=3)
    assert torch.equal(given.predict(plain), given.predict(scaled))
    own = {key: value for key, value in scaled.state_dict().items() if key in plain.state_dict()}
    assert all(torch.equal(own[key], value) for key, value in plain.state_dict().items())
    assert list(own) == list(plain.state_dict())


@pytest.mark.parametrize("num_joints", [17, 14])
@pytest.mark.parametrize("name", names())
def test_every_joint_has_a_scale_in_metres_where_it_is_asked_for(
    name: str, num_joints: int
) -> None:
    given = inputs(name, num_joints=num_joints)
    model = small(name, num_joints=num_joints, uncertainty=True).eval()
    with torch.no_grad():
        poses, outputs = answer(model, given), answer(model, given, with_scale=True)
    assert isinstance(poses, Tensor)
    assert torch.equal(prediction(outputs), poses)
    scales = scale_m(outputs)
    assert scales.shape == given.target_m.shape[:-1]
    assert scales.dtype == torch.float32
    torch.testing.assert_close(scales, torch.full_like(scales, 10**-1.5))
    with pytest.raises(TypeError, match="with_scale=True"):
        scale_m(poses)


@pytest.mark.parametrize("name", names())
def test_training_reaches_every_parameter_and_no_label_counts_for_nothing(name: str) -> None:
    model, given = small(name, uncertainty=True), inputs(name)
    train(model, given, steps=1)  # the last layer of the head starts at zero
    model.train()
    valid = torch.ones(given.target_m.shape[:-1], dtype=torch.bool)
    valid[2:4] = False
    changed = torch.where(valid[..., None], given.target_m, given.target_m + 7.0)
    gradients = []
    for target_m in (given.target_m, changed):
        model.zero_grad()
        torch.manual_seed(0)
        model.loss(answer(model, given), target_m, valid).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        gradients.append([p.grad.clone() for p in model.scale_head.parameters()])  # type: ignore[union-attr, operator]
    for first, second in zip(*gradients, strict=True):
        assert first.abs().sum() > 0
        torch.testing.assert_close(first, second)
    assert sum(map(len, param_groups(model).values())) == len(list(model.parameters()))


@pytest.mark.parametrize("name", ["capf", "simple_baseline", "videopose3d", "pandapose", "mixste"])
def test_scales_come_back_from_a_file(name: str) -> None:
    model, given = small(name, uncertainty=True), inputs(name)
    train(model, given, steps=2)
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = small(name, seed=5, uncertainty=True)
    other.load_state_dict(torch.load(file, weights_only=True))
    with torch.no_grad():
        expected = scale_m(answer(model.eval(), given, with_scale=True))
        found = scale_m(answer(other.eval(), given, with_scale=True))
    assert torch.equal(found, expected)
    assert expected.std() > 0


@pytest.mark.parametrize("name", ["capf", "videopose3d", "pose_moe"])
def test_scales_are_float32_under_bfloat16(name: str) -> None:
    model, given = small(name, uncertainty=True), inputs(name)
    train(model, given, steps=5)
    model.eval()
    with torch.no_grad():
        exact = scale_m(answer(model, given, with_scale=True))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = answer(model, given, with_scale=True)
    assert scale_m(outputs).dtype == torch.float32
    torch.testing.assert_close(scale_m(outputs), exact, rtol=0.1, atol=0.0)


@pytest.mark.slow
def test_a_lifter_with_the_head_compiles_as_a_whole() -> None:
    model, given = small("pose_only", uncertainty=True).train(), inputs("pose_only")
    compiled = torch.compile(model, backend="eager", fullgraph=True)
    outputs = compiled(given.keypoints_2d)
    expected = answer(model, given)
    for one, other in zip(outputs, expected, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("scale", [0.02, 0.4])
def test_the_likelihood_is_that_of_a_density(scale: float) -> None:
    def density(distance: float) -> float:
        predicted = torch.tensor([[0.0, 0.0, distance]], dtype=torch.float64)
        log_scale = torch.tensor([math.log(scale)], dtype=torch.float64)
        return math.exp(-float(laplace_nll(predicted, log_scale, torch.zeros(1, 3))))

    def shell(distance: float) -> float:
        return 4 * math.pi * distance**2 * density(distance)

    total, _ = integrate.quad(shell, 0.0, 60 * scale)
    mean, _ = integrate.quad(lambda distance: distance * shell(distance), 0.0, 60 * scale)
    assert total == pytest.approx(1.0, rel=1e-6)
    assert mean == pytest.approx(3 * scale, rel=1e-6)
    assert shell(0.1) == pytest.approx(stats.gamma(3, scale=scale).pdf(0.1), rel=1e-6)


def test_the_head_finds_the_scales_of_errors_that_it_is_shown() -> None:
    true_m = torch.tensor([0.01, 0.05, 0.2])

    class Noisy(Lifter):
        name, uses_features = "noisy", False

        def __init__(self, *, num_joints: int) -> None:
            super().__init__()
            self.position = nn.Linear(3, 3)
            self.num_joints = num_joints

        def forward(self, keypoints_2d: Tensor, *others: object) -> Tensor:
            del others
            joints = torch.eye(3).expand(len(keypoints_2d), -1, -1)
            return torch.zeros_like(joints) * self.position(joints)

    config = LifterConfig(name="noisy", uncertainty=True)
    model = with_scale(Noisy).from_config(config, level_channels=(), num_joints=3)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    generator = torch.Generator().manual_seed(0)
    directions = nn.functional.normalize(torch.randn(512, 3, 3, generator=generator), dim=-1)
    sizes = torch.from_numpy(stats.gamma(3).rvs(size=(512, 3), random_state=0)).float() * true_m
    target_m, keypoints = directions * sizes[..., None], torch.zeros(512, 3, 2)
    for _ in range(150):
        loss = model.loss(model(keypoints), target_m, None)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = scale_m(model(keypoints)).mean(0)
    # The best scale of a sample is a third of its mean error.
    torch.testing.assert_close(found, sizes.mean(0) / 3, rtol=0.02, atol=0.0)


def test_a_lifter_without_a_readable_last_layer_is_refused() -> None:
    class Headless(Lifter):
        """Has no layer that could be read."""

        name, uses_features = "headless", False

        def forward(self, keypoints_2d: Tensor, *others: object) -> Tensor:
            del others
            return keypoints_2d.new_zeros(*keypoints_2d.shape[:-1], 3)

    with pytest.raises(LifterConfigError, match=r"headless.*Headless.last_layer"):
        with_scale(Headless).from_config(
            LifterConfig(name="headless"), level_channels=(), num_joints=17
        )


def test_what_is_built_is_still_a_lifter_of_its_kind() -> None:
    model = build_lifter("capf", level_channels=(6, 8), uncertainty=True, width=16, depth=1)
    assert isinstance(model, LIFTERS["capf"])
    assert isinstance(model, ScaledLifter)
    assert model.name == "capf"


@pytest.mark.parametrize("name", ["capf", "pandapose", "mixste"])
def test_processes_that_train_together_need_not_search_for_gradients(
    name: str, tmp_path: Path
) -> None:
    model, given = small(name, uncertainty=True).train(), inputs(name)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/meeting", rank=0, world_size=1
    )
    try:
        together = nn.parallel.DistributedDataParallel(model, find_unused_parameters=False)
        for _ in range(2):  # the second step fails if the first left a gradient out
            outputs = together(
                given.keypoints_2d,
                given.reference_points,
                given.levels,
                window_rows=given.window_rows,
            )
            model.loss(outputs, given.target_m, None).backward()
    finally:
        torch.distributed.destroy_process_group()
