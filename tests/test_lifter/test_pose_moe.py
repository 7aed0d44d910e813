from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lifter import build_lifter
from lifter.aggregation import AggregationBlock, CrossAttention
from lifter.errors import LifterConfigError, SamplingError
from lifter.experts import GaussianPrior, Router, SpaceTimeBlock, Streams
from lifter.models.pose_moe import PoseMoE, PoseMoEContext, PoseMoEEntangled
from lifter.pyramid import sample_joints
from lifter.sequence_losses import n_mpjpe, velocity_error

CHANNELS = (6, 4)
SIZES = ((8, 6), (4, 3))
FRAMES = 3
WEIGHTS = {"n_mpjpe_weight": 0.3, "velocity_weight": 1.7, "parts_weight": 0.9}


def built(name: str, *, options: dict[str, Any] | None = None, **sizes: Any) -> Any:
    torch.manual_seed(0)
    defaults: dict[str, Any] = {
        "width": 16,
        "depth": 2,
        "num_heads": 2,
        "deform_heads": 2,
        "drop_path": 0.0,
        "num_frames": FRAMES,
        "level_channels": CHANNELS if name == "pose_moe_context" else (),
    }
    model = build_lifter(name, options=options or {}, **(defaults | sizes))
    with torch.no_grad():  # position embeddings start at zero, which would hide mistakes
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def keypoints(batch: int = 2, *, frames: int = FRAMES) -> Tensor:
    return torch.rand((batch, frames, 17, 2), generator=torch.Generator().manual_seed(1)) * 2 - 1


def maps(rows: int = 4, *, seed: int = 2) -> tuple[Tensor, list[Tensor]]:
    made = torch.Generator().manual_seed(seed)
    points = torch.rand((rows, 17, 2), generator=made) * 1.6 - 0.8
    levels = [
        torch.randn((rows, *size, channels), generator=made)
        for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]
    return points, levels


ROWS = torch.tensor([[0, 1, 2], [1, 2, 3]])


def with_own_noise(model: Any) -> Tensor:
    noise: Tensor = model.depth_prior.noise.clone().requires_grad_()
    model.depth_prior.noise = noise
    return noise


def reaches(output: Tensor, *sources: Tensor) -> bool:
    """Returns whether any gradient of the output is not exactly zero."""
    found = torch.autograd.grad(output.sum(), sources, allow_unused=True, retain_graph=True)
    return any(each is not None and bool((each != 0).any()) for each in found)


def parameters_of(*modules: nn.Module) -> list[nn.Parameter]:
    return [parameter for module in modules for parameter in module.parameters()]


def depth_parameters(model: PoseMoE) -> list[nn.Parameter]:
    encoder = model.encoder
    return parameters_of(
        model.depth_prior, encoder.depth_blocks, encoder.depth_norm, encoder.conditions
    )


def pose_parameters(model: PoseMoE) -> list[nn.Parameter]:
    encoder = model.encoder
    return parameters_of(
        model.pose_embedding, model.position_embedding, encoder.pose_blocks, encoder.pose_norm
    )


# --- what the paper claims -----------------------------------------------------------------------


def test_before_aggregation_no_gradient_goes_from_the_2d_features_to_the_depth_stream() -> None:
    model: PoseMoE = built("pose_moe")
    noise = with_own_noise(model)
    experts = model.encode(keypoints())
    assert not reaches(experts.pose, noise)
    for parameter in depth_parameters(model):
        assert not reaches(experts.pose, parameter)
    assert reaches(experts.depth, noise)
    assert reaches(model.aggregate(experts)[..., :2], noise), "aggregation has to connect them"


def test_the_depth_expert_sees_the_2d_features_but_does_not_train_them() -> None:
    model: PoseMoE = built("pose_moe")
    experts = model.encode(keypoints())
    moved = model.encode(keypoints() + 0.1)
    assert not torch.equal(experts.depth, moved.depth)
    assert not reaches(model.first_z(experts.depth), *pose_parameters(model))
    assert reaches(model.first_xy(experts.pose), *pose_parameters(model))


def test_another_depth_expert_leaves_the_first_x_and_y_bit_equal() -> None:
    model: PoseMoE = built("pose_moe")
    with torch.no_grad():
        before = model.encode(keypoints())
        for parameter in depth_parameters(model):
            parameter.add_(torch.randn_like(parameter))
        model.depth_prior.noise.add_(1.0)
        after = model.encode(keypoints())
        assert torch.equal(model.first_xy(before.pose), model.first_xy(after.pose))
        assert not torch.equal(model.first_z(before.depth), model.first_z(after.depth))


def first_xy_error(model: Any, target_m: Tensor) -> float:
    with torch.no_grad():
        features = model.encode(keypoints())
        if isinstance(features, Streams):
            xy = model.first_xy(features.pose)
        else:
            xy = model.first_xy(model.first_norm(features))
    return float((xy - target_m).norm(dim=-1).mean())


def two_depth_seeds(name: str) -> tuple[Any, Any]:
    one, other = (built(name, options={"depth_seed": seed}) for seed in (0, 1))
    assert not torch.equal(one.depth_prior.noise, other.depth_prior.noise)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    return one, other


def test_without_aggregation_the_error_of_x_and_y_is_that_of_any_depth_seed() -> None:
    one, other = two_depth_seeds("pose_moe")
    target_m = torch.randn((2, FRAMES, 17, 2))
    assert first_xy_error(one, target_m) == first_xy_error(other, target_m)
    with torch.no_grad():
        assert not torch.equal(one(keypoints()), other(keypoints()))


def test_the_entangled_control_fails_all_of_this() -> None:
    one, other = two_depth_seeds("pose_moe_entangled")
    target_m = torch.randn((2, FRAMES, 17, 2))
    assert first_xy_error(one, target_m) != first_xy_error(other, target_m)
    noise = with_own_noise(one)
    assert reaches(one.first_xy(one.first_norm(one.encode(keypoints()))), noise)


# --- the control ---------------------------------------------------------------------------------


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("width", "depth", "num_heads", "num_frames", "mlp_ratio", "aggregation_depth"),
    [
        (128, 4, 8, 27, 2.0, None),
        (32, 2, 8, 9, 2.0, None),
        (32, 2, 2, 27, 2.0, None),
        (16, 1, 2, 3, 2.0, None),
        (64, 3, 4, 1, 4.0, 1),
        (64, 3, 4, 81, 1.0, 0),
    ],
)
def test_the_control_has_as_many_parameters(
    width: int,
    depth: int,
    num_heads: int,
    num_frames: int,
    mlp_ratio: float,
    aggregation_depth: int | None,
) -> None:
    sizes = {
        "width": width,
        "depth": depth,
        "num_heads": num_heads,
        "deform_heads": 1,
        "num_frames": num_frames,
        "mlp_ratio": mlp_ratio,
    }
    options = {"aggregation_depth": aggregation_depth}
    with torch.device("meta"):
        ours = build_lifter("pose_moe", options=options, **sizes)
        control = build_lifter("pose_moe_entangled", options=options, **sizes)
        wider = build_lifter("pose_moe_entangled", options=options, **sizes | {"width": 2 * width})
    assert abs(count(control) / count(ours) - 1) < 0.01
    assert abs(count(wider) / count(ours) - 1) > 0.5
    assert isinstance(control, PoseMoEEntangled)
    assert isinstance(ours, PoseMoE)
    assert len(control.encoder) == len(ours.encoder.pose_blocks)
    assert len(control.decoder) == len(ours.decoder)


# --- the router ----------------------------------------------------------------------------------


def two_streams(width: int = 16) -> Streams:
    made = torch.Generator().manual_seed(4)
    return Streams(*(torch.randn((2, FRAMES, 17, width), generator=made) for _ in range(2)))


def test_router_weights_are_a_distribution_of_the_logits() -> None:
    router, streams = Router(16), two_streams()
    weights = router.weights(streams).detach()
    assert weights.shape == (2, FRAMES, 17, 2)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, FRAMES, 17))
    tokens = np.concatenate([stream.numpy() for stream in streams], axis=-1)
    logits = tokens @ router.gate.weight.detach().numpy().T + router.gate.bias.detach().numpy()
    expected = 1 / (1 + np.exp(logits[..., 1] - logits[..., 0]))
    np.testing.assert_allclose(weights[..., 0].numpy(), expected, rtol=1e-5)
    raw = router.gate(torch.cat(streams, dim=-1)).sum(-1)
    assert not torch.allclose(raw, torch.ones_like(raw)), "logits are no distribution"


@pytest.mark.parametrize("expert", [0, 1])
def test_a_router_that_is_sure_takes_one_expert(expert: int) -> None:
    router, streams = Router(16), two_streams()
    with torch.no_grad():
        router.gate.weight.zero_()
        router.gate.bias.zero_()
        torch.testing.assert_close(router(streams), (streams.pose + streams.depth) / 2)
        router.gate.bias[expert] = 200.0
        assert torch.equal(router(streams), streams[expert])


# --- blocks --------------------------------------------------------------------------------------


def test_cross_attention_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours, theirs = CrossAttention(16, num_heads=4), nn.MultiheadAttention(16, 4, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat((ours.queries.weight, ours.keys_values.weight)))
        theirs.in_proj_bias.copy_(torch.cat((ours.queries.bias, ours.keys_values.bias)))
        theirs.out_proj.weight.copy_(ours.out.weight)
        theirs.out_proj.bias.copy_(ours.out.bias)
        tokens, others = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
        expected, _ = theirs(tokens, others, others)
        torch.testing.assert_close(ours(tokens, others), expected)
        assert not torch.allclose(ours(others[:, :5], tokens), expected)


def test_space_time_blocks_mix_joints_of_a_frame_then_frames_of_a_joint() -> None:
    torch.manual_seed(0)
    block = SpaceTimeBlock(16, num_heads=2, mlp_ratio=2.0, drop_path=0.0)
    tokens, _ = two_streams()
    with torch.no_grad():
        spatial = torch.stack([block.spatial(tokens[:, f]) for f in range(FRAMES)], dim=1)
        expected = torch.stack([block.temporal(spatial[:, :, j]) for j in range(17)], dim=2)
        torch.testing.assert_close(block(tokens), expected)
        other_order = torch.stack([block.spatial(tokens[:, :, j]) for j in range(17)], dim=2)
        assert not torch.allclose(other_order, spatial, atol=1e-3)


def test_aggregation_goes_both_ways_over_space_then_time() -> None:
    torch.manual_seed(0)
    block = AggregationBlock(16, num_heads=2, mlp_ratio=2.0, drop_path=0.0)
    pose, depth = two_streams()
    space, time = block.spatial, block.temporal
    with torch.no_grad():
        pairs = [(pose[:, f], depth[:, f]) for f in range(FRAMES)]
        mid_pose = torch.stack([space.pose_from_depth(p, d) for p, d in pairs], dim=1)
        mid_depth = torch.stack([space.depth_from_pose(d, p) for p, d in pairs], dim=1)
        pairs = [(mid_pose[:, :, j], mid_depth[:, :, j]) for j in range(17)]
        expected_pose = torch.stack([time.pose_from_depth(p, d) for p, d in pairs], dim=2)
        expected_depth = torch.stack([time.depth_from_pose(d, p) for p, d in pairs], dim=2)
        found = block(Streams(pose, depth))
        torch.testing.assert_close(found.pose, expected_pose)
        torch.testing.assert_close(found.depth, expected_depth)
        alone = block(Streams(pose, torch.zeros_like(depth)))
        assert not torch.allclose(alone.pose, expected_pose, atol=1e-3)


def test_the_prior_is_gaussian_anew_in_training_and_fixed_in_evaluation() -> None:
    prior = GaussianPrior(64, num_frames=9, num_joints=17, std=0.5, seed=3)
    assert torch.equal(prior.std.detach(), torch.full((64,), 0.5))
    with torch.no_grad():
        prior.mean.joints.fill_(2.0)
        prior.mean.frames.fill_(-0.5)
        prior.std.fill_(0.25)
        torch.manual_seed(0)
        drawn, again = prior.train()(8), prior(8)
        fixed = prior.eval()(2)
    assert not torch.equal(drawn, again)
    assert not torch.equal(drawn[0], drawn[1])
    assert float(drawn.mean()) == pytest.approx(1.5, abs=0.01)
    assert float(drawn.std()) == pytest.approx(0.25, abs=0.01)
    assert torch.equal(fixed[0], fixed[1])
    torch.testing.assert_close(fixed[0], 1.5 + 0.25 * prior.noise)
    same = GaussianPrior(64, num_frames=9, num_joints=17, std=0.5, seed=3)
    assert torch.equal(same.noise, prior.noise)


# --- context -------------------------------------------------------------------------------------


def test_maps_reach_the_depth_expert_only() -> None:
    model: PoseMoEContext = built("pose_moe_context")
    points, levels = maps()
    experts = model.encode(keypoints(), points, levels, window_rows=ROWS)
    for parameter in model.pyramid.parameters():
        assert not reaches(experts.pose, parameter)
        assert reaches(experts.depth, parameter)
        assert reaches(model.aggregate(experts)[..., :2], parameter)
    for index in range(len(levels)):
        others = list(levels)
        others[index] = others[index] + 1.0
        with torch.no_grad():
            changed = model.encode(keypoints(), points, others, window_rows=ROWS)
        assert torch.equal(changed.pose, experts.pose)
        assert not torch.equal(changed.depth, experts.depth)


def test_points_read_before_give_the_same_poses_as_maps() -> None:
    model: PoseMoEContext = built("pose_moe_context")
    points, levels = maps()
    read = sample_joints(points, levels)
    assert model.reads_points(None)  # type: ignore[arg-type]  # whatever the configuration
    with torch.no_grad():
        expected = model(keypoints(), points, levels, window_rows=ROWS)
        assert torch.equal(model(keypoints(), points, read, window_rows=ROWS), expected)
        read[0] = read[0].roll(1, dims=1)
        assert not torch.equal(model(keypoints(), points, read, window_rows=ROWS), expected)


def test_every_frame_of_a_window_gets_the_context_of_its_own_row() -> None:
    model: PoseMoEContext = built("pose_moe_context")
    points, levels = maps()
    with torch.no_grad():
        rows = model.pyramid(points, levels).sum(1).numpy()  # [R, J, D]
        found = model.context(points, levels, scales=None, window_rows=ROWS)
    for sample in range(2):
        for frame in range(FRAMES):
            np.testing.assert_array_equal(found[sample, frame].numpy(), rows[sample + frame])


def test_the_geometric_rule_moves_the_points() -> None:
    published = built("pose_moe_context")
    geometric = built("pose_moe_context", reference_rule="geometric")
    points, levels = maps()
    with torch.no_grad():
        a, b = (
            model.context(points, levels, scales=None, window_rows=ROWS)
            for model in (published, geometric)
        )
        assert not torch.allclose(a, b)
        constant = [torch.ones_like(level) for level in levels]
        inside = points * 0.3  # far from the borders, where zeros lie
        a, b = (
            model.context(inside, constant, scales=None, window_rows=ROWS)
            for model in (published, geometric)
        )
    torch.testing.assert_close(a, b)


# --- the loss ------------------------------------------------------------------------------------


def random_poses(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def some_valid() -> Tensor:
    valid = torch.rand((2, 4, 5), generator=torch.Generator().manual_seed(9)) < 0.7
    valid[0, 2] = False  # a frame without labels
    return valid


def test_n_mpjpe_fits_the_scale_to_the_valid_joints_of_each_pose() -> None:
    predicted, target, valid = (
        random_poses(0, 2, 4, 5, 3),
        random_poses(1, 2, 4, 5, 3),
        some_valid(),
    )
    errors = []
    for b in range(2):
        for f in range(4):
            p, t = (poses[b, f][valid[b, f]].numpy() for poses in (predicted, target))
            if len(p):
                scale = np.linalg.lstsq(p.reshape(-1, 1), t.reshape(-1), rcond=None)[0]
                errors += np.linalg.norm(scale * p - t, axis=-1).tolist()
    expected = pytest.approx(np.mean(errors), rel=1e-9)
    assert float(n_mpjpe(predicted, target, valid)) == expected
    assert float(n_mpjpe(3.0 * predicted, target, valid)) == expected
    assert float(n_mpjpe(predicted, target)) != expected


def test_velocity_counts_steps_between_two_valid_frames() -> None:
    predicted, target, valid = (
        random_poses(0, 2, 4, 5, 3),
        random_poses(1, 2, 4, 5, 3),
        some_valid(),
    )
    errors = [
        math.dist(
            (predicted[b, f + 1, j] - predicted[b, f, j]).tolist(),
            (target[b, f + 1, j] - target[b, f, j]).tolist(),
        )
        for b in range(2)
        for f in range(3)
        for j in range(5)
        if valid[b, f, j] and valid[b, f + 1, j]
    ]
    expected = pytest.approx(np.mean(errors), rel=1e-9)
    assert float(velocity_error(predicted, target, valid)) == expected
    assert float(velocity_error(predicted + 5.0, target, valid)) == expected
    assert float(velocity_error(predicted, target)) != expected
    assert float(velocity_error(predicted[:, :1], target[:, :1])) == 0.0


def test_a_loss_of_hand_computed_terms() -> None:
    model = built("pose_moe", options=WEIGHTS)
    target_m = torch.zeros(1, 2, 1, 3)
    target_m[..., 0] = 1.0  # both frames at (1, 0, 0)
    poses_m = torch.tensor([[[[1.0, 0.0, 1.0]], [[3.0, 0.0, 0.0]]]])
    first_xy = torch.tensor([[[[1.0, 3.0]], [[1.0, 0.0]]]])
    first_z = torch.tensor([[[[-1.0]], [[2.0]]]])
    mpjpe = (1.0 + 2.0) / 2
    # Scales 1/2 and 1/3: (1/2, 0, 1/2) and (1, 0, 0).
    scaled = (math.sqrt(0.5) + 0.0) / 2
    velocity = math.sqrt(4.0 + 1.0)
    parts = (3.0 + 0.0) / 2 + (1.0 + 2.0) / 2
    expected = mpjpe + 0.3 * scaled + 1.7 * velocity + 0.9 * parts
    loss = model.loss((poses_m, first_xy, first_z), target_m, None)
    assert float(loss) == pytest.approx(expected, rel=1e-6)
    only_poses = float(model.loss(poses_m, target_m, None))
    assert only_poses == pytest.approx(expected - 0.9 * parts, rel=1e-6)
    valid = torch.tensor([[[True], [False]]])
    only_first = 1.0 + 0.3 * math.sqrt(0.5) + 0.9 * (3.0 + 1.0)
    loss = model.loss((poses_m, first_xy, first_z), target_m, valid)
    assert float(loss) == pytest.approx(only_first, rel=1e-6)


@pytest.mark.parametrize("name", ["pose_moe", "pose_moe_entangled"])
def test_what_is_not_valid_has_no_gradient_and_no_part_in_the_loss(name: str) -> None:
    model = built(name, options=WEIGHTS)
    valid = some_valid()
    outputs = [random_poses(seed, 2, 4, 5, size).float() for seed, size in ((0, 3), (1, 2), (2, 1))]
    outputs = [output.requires_grad_() for output in outputs]
    target_m = random_poses(3, 2, 4, 5, 3).float()
    loss = model.loss(tuple(outputs), target_m, valid)
    loss.backward()
    loss = loss.detach()
    for output in outputs:
        assert output.grad is not None
        assert (output.grad[~valid] == 0).all()
        assert (output.grad[valid] != 0).any()
    elsewhere = torch.where(valid[..., None], target_m, 100.0)
    assert model.loss(tuple(outputs), elsewhere, valid) == loss
    assert model.loss(tuple(outputs), elsewhere, None) > 10 * loss


# --- training ------------------------------------------------------------------------------------

KINDS = [
    ("pose_moe", {}, 9),
    ("pose_moe", {"aggregation_depth": 0}, 3),
    ("pose_moe", {}, 1),
    ("pose_moe_entangled", {"aggregation_depth": 0}, 3),
    ("pose_moe_entangled", {}, 1),
]


@pytest.mark.parametrize(("name", "options", "frames"), KINDS)
@pytest.mark.parametrize("labelled", [True, False])
def test_training_reaches_every_parameter_in_every_form(
    name: str, options: dict[str, Any], frames: int, labelled: bool
) -> None:
    model = built(name, options=options, num_frames=frames).train()
    target_m = torch.zeros((2, frames, 17, 3))
    valid = torch.full((2, frames, 17), labelled)
    loss = model.loss(model(keypoints(frames=frames)), target_m, valid)
    assert loss.dtype == torch.float32
    assert bool(loss > 0) == labelled
    loss.backward()
    for parameter_name, parameter in model.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.isfinite().all(), parameter_name
        if labelled and frames > 1:  # one frame attends to itself whatever the query
            assert (parameter.grad != 0).any(), parameter_name


@pytest.mark.parametrize("name", ["pose_moe", "pose_moe_entangled"])
def test_bfloat16_changes_the_loss_little_and_leaves_it_float32(name: str) -> None:
    model = built(name, width=32).train()
    target_m = random_poses(3, 2, FRAMES, 17, 3).float()
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            outputs = model(keypoints())
        losses.append(model.loss(outputs, target_m, None).detach())
    assert losses[1].dtype == torch.float32
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=0.02)
    assert float(losses[1]) != float(losses[0])


# --- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["pose_moe", "pose_moe_entangled", "pose_moe_context"])
def test_causal_windows_and_windows_of_another_length_are_refused(name: str) -> None:
    with pytest.raises(LifterConfigError, match=r"no causal form. Leave lifter.causal out"):
        built(name, causal=True)
    model = built(name)
    for wrong in (keypoints(frames=9), keypoints()[:, 0]):
        with pytest.raises(LifterConfigError, match=r"windows of 3 frames .* got keypoints_2d"):
            model(wrong, *maps(), window_rows=ROWS)


def test_context_without_what_it_needs_is_refused() -> None:
    with pytest.raises(LifterConfigError, match="level_channels is empty"):
        built("pose_moe_context", level_channels=())
    model = built("pose_moe_context")
    points, levels = maps()
    with pytest.raises(SamplingError, match="levels must be 2 maps"):
        model(keypoints(), points, levels[:1], window_rows=ROWS)
    with pytest.raises(LifterConfigError, match=r"window_rows \[B, F\]"):
        model(keypoints(), points, levels)
