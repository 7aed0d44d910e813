from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cache.coords import crop_px_to_unit
from lifter import LIFTERS, build_lifter, load_published_capf, param_groups
from lifter.blocks import DeformableBlock, DropPath
from lifter.config import LifterConfig
from lifter.errors import LifterConfigError, SamplingError, WeightsMismatch
from lifter.losses import mpjpe
from lifter.pyramid import geometric_shifts
from tests.test_lifter.published_twin import published_forward, random_weights

CHANNELS = (6, 4, 5, 3)
SIZES = ((16, 12), (8, 6), (4, 3), (2, 2))
W32 = (32, 64, 128, 256)


def random_batch(
    *, batch: int = 2, channels: tuple[int, ...] = CHANNELS, seed: int = 0
) -> tuple[Tensor, Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn((batch, 17, 2), generator=generator),
        torch.rand((batch, 17, 2), generator=generator) * 2.4 - 1.2,
        [
            torch.randn((batch, *size, count), generator=generator)
            for size, count in zip(SIZES, channels, strict=True)
        ],
    )


def small(name: str = "capf", **options: object) -> torch.nn.Module:
    torch.manual_seed(0)
    defaults: dict[str, object] = {
        "width": 16,
        "depth": 2,
        "num_heads": 2,
        "level_channels": CHANNELS,
    }
    return build_lifter(name, **(defaults | options))


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


@pytest.mark.parametrize(
    ("level_channels", "expected"),
    [(W32, 14_094_147), ((48, 96, 192, 384), 14_155_587), ((256,) * 4, 14_233_411)],
)
def test_capf_has_the_published_number_of_parameters(
    level_channels: tuple[int, ...], expected: int
) -> None:
    model = build_lifter("capf", level_channels=level_channels)
    assert count(model) == expected
    assert len(list(model.parameters())) == 191


def test_pose_only_has_the_joint_blocks_and_head_of_capf() -> None:
    capf, control = build_lifter("capf", level_channels=W32), build_lifter("pose_only")
    shapes = [
        {name: each.shape for name, each in model.decoder.named_parameters()}
        for model in (capf, control)
    ]
    assert shapes[0] == shapes[1]
    assert count(control) - count(control.decoder) == 2 * 640 + 640 + 17 * 640


@pytest.mark.parametrize("prefix", ["", "volume_net.", "module.volume_net."])
def test_published_weights_give_the_published_forward_pass(prefix: str) -> None:
    weights = random_weights(W32)
    keypoints, reference, levels = random_batch(channels=W32)
    state = {f"{prefix}{name}": tensor for name, tensor in weights.items()}
    if prefix.endswith("volume_net."):
        state[prefix.replace("volume_net", "backbone") + "conv1.weight"] = torch.zeros(1)
    model = load_published_capf(state if prefix else {"model": state, "epoch": 14})
    assert not model.training
    with torch.no_grad():
        found = model(keypoints, reference, levels)
        expected = published_forward(
            weights, keypoints, reference, [level.permute(0, 3, 1, 2) for level in levels]
        )
        exact = published_forward(
            {name: tensor.double() for name, tensor in weights.items()},
            keypoints.double(),
            reference.double(),
            [level.permute(0, 3, 1, 2).double() for level in levels],
        )
        doubles = model.double()(
            keypoints.double(), reference.double(), [level.double() for level in levels]
        )
    assert expected.std() > 0.1
    torch.testing.assert_close(doubles, exact, rtol=0, atol=1e-11)
    assert (found - exact).abs().max() <= 2 * (expected - exact).abs().max() + 1e-5


def test_comparison_with_the_published_pass_sees_one_changed_weight() -> None:
    weights = random_weights(W32)
    model = load_published_capf(weights)
    keypoints, reference, levels = random_batch(channels=W32)
    maps = [level.permute(0, 3, 1, 2) for level in levels]
    weights["context_blocks.2.sampling_offsets.bias"][3] += 0.05
    with torch.no_grad():
        off = model(keypoints, reference, levels)
        off = off - published_forward(weights, keypoints, reference, maps)
    assert off.abs().max() > 1e-4


def test_weights_of_something_else_are_refused() -> None:
    with pytest.raises(WeightsMismatch, match="not the weights of a Context-Aware PoseFormer"):
        load_published_capf({"conv1.weight": torch.zeros(3)})
    weights = random_weights(W32)
    weights["context_blocks.1.norm1.bias"] = torch.zeros(64)
    with pytest.raises(WeightsMismatch, match=r"context_blocks\.1\.query_norm\.bias"):
        load_published_capf(weights)
    weights = random_weights(W32) | {"surplus.weight": torch.zeros(1)}
    with pytest.raises(WeightsMismatch, match=r"surplus\.weight"):
        load_published_capf(weights)


def test_sampling_starts_on_rays_with_equal_weights() -> None:
    block = DeformableBlock(
        32, level_channels=(3,), num_heads=4, num_points=4, mlp_ratio=2.0, drop_path=0.0
    )
    offsets, weights = block.sampling(torch.randn(2, 1, 17, 32))
    steps = torch.tensor([0.01, 0.02, 0.03, 0.04]).tanh()
    torch.testing.assert_close(offsets[1, 0, 5, 0, :, 0], steps)  # right
    torch.testing.assert_close(offsets[1, 0, 5, 1, :, 1], steps)  # down
    torch.testing.assert_close(offsets[1, 0, 5, 2, :, 0], -steps)  # left
    torch.testing.assert_close(offsets[1, 0, 5, 3, :, 1], -steps)  # up
    assert (weights == 0.25).all()


@pytest.mark.parametrize("name", ["capf", "pose_only"])
def test_every_parameter_learns(name: str) -> None:
    model = small(name, drop_path=0.0)
    with torch.no_grad():  # the maps to offsets and weights start at zero and hide what is before
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    model(*random_batch()).square().sum().backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []


def test_pose_only_ignores_the_maps_and_needs_none() -> None:
    model = small("pose_only").eval()
    keypoints, reference, levels = random_batch()
    assert not model.uses_features
    assert torch.equal(model(keypoints), model(keypoints, reference, levels))
    assert torch.equal(model(keypoints), model(keypoints, None, None))


@pytest.mark.parametrize("fusion", ["concat", "fusion", "full"])
def test_capf_looks_at_every_level(fusion: str) -> None:
    model = small(fusion=fusion).eval()
    keypoints, reference, levels = random_batch()
    plain = model(keypoints, reference.clamp(-0.9, 0.9), levels)
    for index in range(len(levels)):
        other = [level + (i == index) for i, level in enumerate(levels)]
        assert not torch.allclose(plain, model(keypoints, reference.clamp(-0.9, 0.9), other))


def test_fusion_option_leaves_blocks_out() -> None:
    lengths = {
        fusion: (len(model.context_blocks), len(model.fusion_blocks))
        for fusion in ("concat", "fusion", "full")
        for model in [small(fusion=fusion)]
    }
    assert lengths == {"concat": (0, 0), "fusion": (0, 2), "full": (2, 2)}


def test_half_precision_maps_equal_their_float32_copies_and_stay_unchanged() -> None:
    model = small().eval()
    keypoints, reference, levels = random_batch()
    halves = [level.half() for level in levels]
    copies = [half.clone() for half in halves]
    found = model(keypoints, reference, halves)
    assert found.dtype == torch.float32
    expected = model(keypoints, reference, [half.float() for half in halves])
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert all(map(torch.equal, halves, copies))


def test_points_stay_float32_under_autocast() -> None:
    block = small().context_blocks[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        offsets, weights = block.sampling(torch.randn(1, 4, 17, 16, dtype=torch.bfloat16))
        small()(*random_batch())
    assert offsets.dtype == weights.dtype == torch.float32


def test_hidden_context_reaches_the_output_nowhere() -> None:
    model = small(context_dropout=0.5, drop_path=0.0).train()
    keypoints, reference, levels = random_batch()
    model.context_dropout = 1.0 - 1e-9
    torch.manual_seed(1)
    hidden = model(keypoints, reference, levels)
    torch.manual_seed(1)
    assert torch.equal(hidden, model(keypoints, reference, [level + 1 for level in levels]))
    model.eval()
    assert not torch.equal(hidden, model(keypoints, reference, levels))


def test_drop_path_skips_whole_samples_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    branch = torch.ones(20_000, 3)
    dropped = DropPath(0.2)(branch)
    assert set(dropped.unique().tolist()) == {0.0, 1.25}
    assert (dropped == dropped[:, :1]).all()
    assert abs(dropped.mean().item() - 1.0) < 0.02
    assert torch.equal(DropPath(0.2).eval()(branch), branch)


def test_drop_path_rises_over_the_depth_in_every_module() -> None:
    model = build_lifter("capf", level_channels=CHANNELS, width=32, depth=4)
    for blocks in (model.context_blocks, model.fusion_blocks, model.decoder.blocks):
        rates = [block.drop_path.probability for block in blocks]
        assert rates == pytest.approx([0.0, 0.2 / 3, 0.4 / 3, 0.2])


def test_geometric_rule_reads_the_cell_under_each_crop_pixel() -> None:
    crop_size = (256, 192)
    crop_px = torch.tensor([[[160.0, 64.0], [0.0, 0.0], [96.0, 128.0]]])
    levels = [torch.zeros(1, 256 // s, 192 // s, 1) for s in (4, 8, 16, 32)]
    published = torch.from_numpy(crop_px_to_unit(crop_px.numpy(), crop_size))
    shifts = geometric_shifts(published, levels)
    for index, stride in enumerate((4, 8, 16, 32)):
        moved = published + shifts[:, index, :, 0, 0]
        expected = crop_px_to_unit(crop_px.numpy(), crop_size, rule="geometric", stride=stride)
        torch.testing.assert_close(moved, torch.from_numpy(expected))


def test_reference_rule_changes_what_is_read() -> None:
    batch = random_batch()
    plain, moved = small().eval(), small(reference_rule="geometric").eval()
    moved.load_state_dict(plain.state_dict())
    assert not torch.allclose(plain(*batch), moved(*batch))


def test_wrong_maps_are_refused_by_name() -> None:
    model = small()
    keypoints, reference, levels = random_batch()
    with pytest.raises(SamplingError, match=r"channels \(6, 4, 5, 3\), got \(6, 4, 5\)"):
        model(keypoints, reference, levels[:3])
    with pytest.raises(SamplingError, match="got None"):
        model(keypoints, reference, None)
    with pytest.raises(LifterConfigError, match="needs reference_points"):
        model(keypoints, None, levels)


def test_unknown_lifters_and_options_are_refused_with_a_suggestion() -> None:
    with pytest.raises(LifterConfigError, match=r"no lifter 'cafp' \(did you mean 'capf'\?\)"):
        build_lifter("cafp", level_channels=CHANNELS)
    with pytest.raises(LifterConfigError, match=r"no option 'widht' \(did you mean 'width'\?\)"):
        build_lifter("capf", level_channels=CHANNELS, widht=3)
    with pytest.raises(LifterConfigError, match="width=12 must be a multiple of num_heads=8"):
        build_lifter("capf", level_channels=CHANNELS, width=12)
    with pytest.raises(LifterConfigError, match="level_channels is empty"):
        build_lifter("capf")
    with pytest.raises(ValueError, match="must name each map once"):
        LifterConfig(levels=("x4", "x4"))


def test_config_and_name_build_the_same_lifter() -> None:
    config = LifterConfig(name="capf", width=16, depth=1, num_heads=2)
    torch.manual_seed(0)
    built = build_lifter(config, level_channels=CHANNELS, num_joints=5)
    named = small(depth=1, num_joints=5)
    assert {n: p.shape for n, p in built.state_dict().items()} == {
        n: p.shape for n, p in named.state_dict().items()
    }
    assert isinstance(built, LIFTERS["capf"])


def test_parameter_groups_part_the_offsets_from_the_rest() -> None:
    groups = param_groups(build_lifter("capf", level_channels=W32))
    assert {name: len(group) for name, group in groups.items()} == {
        "main": 183,
        "sampling_offsets": 8,
    }
    assert set(param_groups(small("pose_only"))) == {"main"}


def test_loss_is_the_mean_distance_of_valid_joints() -> None:
    target = torch.zeros(2, 2, 3)
    predicted = torch.tensor(
        [[[3.0, 4.0, 0.0], [0.0, 0.0, 1.0]], [[2.0, 0.0, 0.0], [9.0, 9.0, 9.0]]]
    )
    valid = torch.tensor([[True, True], [True, False]])
    assert mpjpe(predicted, target, valid).item() == pytest.approx((5 + 1 + 2) / 3)
    assert mpjpe(predicted, target).item() == pytest.approx((8 + 9 * math.sqrt(3)) / 4, rel=1e-6)
    assert mpjpe(predicted, target, torch.zeros_like(valid)).item() == 0.0


def test_gradient_of_a_perfect_prediction_is_finite() -> None:
    predicted = torch.zeros(1, 17, 3, requires_grad=True)
    mpjpe(predicted, torch.zeros(1, 17, 3)).backward()
    assert predicted.grad is not None
    assert predicted.grad.isfinite().all()
