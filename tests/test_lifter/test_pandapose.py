from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifter import build_lifter, param_groups
from lifter.anchor_decoder import Scene
from lifter.config import LifterConfig
from lifter.depth_context import DepthContext
from lifter.errors import LifterConfigError, SamplingError
from lifter.models.base import prediction
from lifter.models.pandapose import PandaPose
from stages.lift import TrainConfig, load_run, train
from stages.lift.runs.rundir import read_log
from tests.test_lift.stores import write_store

CHANNELS = (6, 4, 5)
SIZES = ((12, 9), (6, 5), (3, 2))
VARIANTS = [
    pytest.param({"anchors": which, "depth_maps": maps}, id=f"{which}-{maps}")
    for which in ("both", "global", "local")
    for maps in ("joint", "single", "none")
]
Given = tuple[Tensor, Tensor, list[Tensor]]


def small(*, seed: int = 0, joints: int = 5, **options: Any) -> PandaPose:
    torch.manual_seed(seed)
    model = build_lifter(
        "pandapose",
        level_channels=CHANNELS,
        num_joints=joints,
        width=16,
        depth=2,
        num_heads=2,
        deform_heads=2,
        num_points=3,
        drop_path=0.0,
        options={"global_grid": 3, "num_local_anchors": 2, "num_bins": 8} | options,
    )
    assert isinstance(model, PandaPose)
    return model


def batch(*, samples: int = 3, joints: int = 5, seed: int = 1) -> Given:
    made = torch.Generator().manual_seed(seed)
    return (
        torch.randn(samples, joints, 2, generator=made) * 0.3,
        torch.rand(samples, joints, 2, generator=made) * 1.8 - 0.9,
        [
            torch.randn(samples, *size, count, generator=made)
            for size, count in zip(SIZES, CHANNELS, strict=True)
        ],
    )


def shaken(model: PandaPose) -> PandaPose:
    """Returns the model with noise on its weights: some start at zero and hide what is before."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return model


def test_the_defaults_are_the_published_numbers() -> None:
    model = build_lifter("pandapose", level_channels=(32, 64, 128, 256))
    assert isinstance(model, PandaPose)
    assert model.anchors.global_grid_m.shape == (256, 3)
    assert not model.anchors.global_grid_m[:, 2].any()
    assert len(model.anchors.joint_of_local()) == 17 * 4
    assert model.depths is not None
    assert model.depths.token.in_features == 64
    assert model.depths.net.reduce.in_features == 64, "the level of stride 8"
    assert (model.pose_weight, model.depth_weight, len(model.layers)) == (2.0, 0.1, 4)


def test_the_order_of_global_anchors_does_not_matter() -> None:
    model = shaken(small()).double().eval()
    keypoints, reference, levels = batch()
    given = (keypoints.double(), reference.double(), [level.double() for level in levels])
    expected = model(*given)
    grid = model.anchors.global_grid_m
    model.anchors.global_grid_m = grid[torch.randperm(len(grid))]
    torch.testing.assert_close(model(*given), expected, rtol=0, atol=1e-12)
    model.anchors.global_grid_m = grid * 1.01
    assert (model(*given) - expected).abs().max() > 1e-6


@pytest.mark.parametrize("options", VARIANTS)
def test_every_variant_trains_all_of_its_parameters(options: dict[str, str]) -> None:
    model = shaken(small(**options)).train()
    target = torch.randn(3, 5, 3) * 0.3
    model.loss(model(*batch()), target).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
    assert all(param_groups(model).values())


@pytest.mark.parametrize("options", VARIANTS)
def test_switches_leave_out_what_they_say(options: dict[str, str]) -> None:
    model, has_depth = small(**options), options["depth_maps"] != "none"
    names = [name for name, _ in model.named_parameters()]
    assert has_depth == any("depth" in name for name in names)
    assert (options["anchors"] != "global") == any("local" in name for name in names)
    axes: list[int] = []
    counts: list[int] = []
    for layer in model.layers:
        layer.register_forward_hook(lambda _m, given, _o: counts.append(given[0].shape[1]))
        axes.append(layer.feature_attention.num_axes)
    outputs = model.train()(*batch())
    assert counts == [{"both": 10 + 9, "global": 9, "local": 10}[options["anchors"]]] * 2
    assert axes == [3 if has_depth else 2] * 2
    kinds = {"none": 0, "single": 1, "joint": 1 + (options["anchors"] != "local")}
    assert len(outputs[1:] if isinstance(outputs, tuple) else ()) == kinds[options["depth_maps"]]
    assert isinstance(model.eval()(*batch()), Tensor)
    if has_depth:
        assert model.depths is not None
        before = model(*batch())
        with torch.no_grad():
            model.depths.net.reduce.bias += 1.0
        assert not torch.equal(model(*batch()), before)


def test_joint_wise_depth_differs_between_joints_at_one_place_and_a_single_map_does_not() -> None:
    _, _, levels = batch()
    reference = torch.zeros(3, 5, 2)
    for options, alike in (({"depth_maps": "single"}, True), ({"depth_maps": "joint"}, False)):
        logits = small(**options).train()(reference, reference, levels)[1]
        assert torch.equal(logits[:, 0], logits[:, 3]) == alike


def test_loss_is_the_weighted_sum_of_both_parts() -> None:
    model = small().train()
    outputs = model(*batch())
    target = torch.randn(3, 5, 3) * 0.3
    valid = torch.ones(3, 5, dtype=torch.bool)
    valid[1, 2] = False
    pose = (outputs[0] - target).norm(dim=-1)[valid].mean()
    reached = torch.arange(7) >= ((target[..., 2] + 1) * 4).floor().clamp(0, 7)[..., None]
    parts = []
    for logits in outputs[1:]:
        until = logits.softmax(-1).cumsum(-1)[..., :-1].clamp(max=1.0)
        each = F.binary_cross_entropy(until, reached.float(), reduction="none").sum(-1)
        parts.append(each[valid].mean())
    expected = 2 * pose + 0.1 * sum(parts) / 2
    torch.testing.assert_close(model.loss(outputs, target, valid), expected)
    torch.testing.assert_close(model.loss(outputs[0], target, valid), 2 * pose)


@pytest.mark.slow
def test_the_depth_loss_alone_teaches_the_depths_of_the_joints() -> None:
    model = small(pose_weight=0.0, depth_weight=1.0).train()
    given = batch(samples=8)
    target = torch.rand(8, 5, 3) * 1.6 - 0.8
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model.loss(model(*given), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    found = model(*given)[1].argmax(-1)
    true = ((target[..., 2] + 1) * 4).long()
    assert ((found - true).abs() <= 1).float().mean() > 0.9


def test_maps_are_frozen_and_inputs_stay_as_they_are() -> None:
    model = small().train()
    keypoints, reference, levels = batch()
    halves = [level.half() for level in levels]
    given = [keypoints, reference, *halves]
    copies = [tensor.clone() for tensor in given]
    model.loss(model(keypoints, reference, halves), torch.zeros(3, 5, 3)).backward()
    assert all(map(torch.equal, given, copies))
    assert all(tensor.grad is None for tensor in given)
    with pytest.raises(SamplingError, match="frozen"):
        model(keypoints, reference, [level.requires_grad_() for level in levels])


def test_half_precision_maps_equal_their_float32_copies() -> None:
    model = shaken(small()).eval()
    keypoints, reference, levels = batch()
    halves = [level.half() for level in levels]
    wide = [half.float() for half in halves]
    torch.testing.assert_close(
        model(keypoints, reference, halves), model(keypoints, reference, wide)
    )


def test_codes_with_scales_equal_the_values_they_stand_for() -> None:
    model = shaken(small()).eval()
    keypoints, reference, levels = batch()
    scales = [torch.linspace(0.01, 0.03, level.shape[-1]) for level in levels]
    codes = [
        (level / scale).round().clamp(-128, 127).char()
        for level, scale in zip(levels, scales, strict=True)
    ]
    values = [code * scale for code, scale in zip(codes, scales, strict=True)]
    expected = model(keypoints, reference, values)
    found = model(keypoints, reference, codes, scales=scales)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(model(keypoints, reference, codes), expected, atol=1e-3)


def test_anchors_points_and_votes_stay_float32_under_autocast() -> None:
    model = shaken(small()).eval()
    scenes: list[Scene] = []
    model.layers[0].register_forward_hook(lambda _m, given, _o: scenes.append(given[1]))
    exact = model(*batch())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = model(*batch())
        offsets, weights = model.layers[0].feature_attention.sampling(
            torch.randn(1, 4, 16, dtype=torch.bfloat16)
        )
    for tensor in (rounded, offsets, weights, scenes[1].anchors_m, scenes[1].points):
        assert tensor.dtype == torch.float32
    assert torch.equal(scenes[0].anchors_m, scenes[1].anchors_m)
    assert (rounded - exact).abs().max() < 0.1 * exact.std()


def test_wrong_maps_and_options_are_refused_by_name() -> None:
    model = small()
    keypoints, reference, levels = batch()
    for wrong in (None, levels[:2], levels[::-1], [level.flatten(1, 2) for level in levels]):
        with pytest.raises(SamplingError, match="levels must be 3 maps"):
            model(keypoints, reference, wrong)
    with pytest.raises(LifterConfigError, match="needs reference_points"):
        model(keypoints, None, levels)
    with pytest.raises(LifterConfigError, match="level_channels is empty"):
        build_lifter("pandapose")
    for options, words in (
        ({"anchors": "few"}, "anchors must be one of"),
        ({"depth_maps": "some"}, "depth_maps must be one of"),
        ({"depth_level": 3}, "depth_level=3 must be one of the 3 levels"),
        ({"depth_window": 0}, "depth_window=0"),
        ({"num_bins": 1}, "num_bins=1"),
        ({"global_grid": 0}, "global_grid=0"),
    ):
        with pytest.raises(LifterConfigError, match=words):
            small(**options)


def test_the_depth_level_is_the_second_or_the_one_named() -> None:
    def channels_read(model: PandaPose) -> int:
        assert isinstance(model.depths, DepthContext)
        return model.depths.net.reduce.in_features

    assert channels_read(small()) == CHANNELS[1]
    assert channels_read(small(depth_level=2)) == CHANNELS[2]
    alone = build_lifter("pandapose", level_channels=(7,))
    assert isinstance(alone, PandaPose)
    assert channels_read(alone) == 7


@pytest.mark.slow
def test_it_trains_from_a_store_and_comes_back(tmp_path: Path) -> None:
    reader = write_store(tmp_path / "few.zarr", {"train": 4, "validation": 2})
    lifter = LifterConfig(
        name="pandapose",
        width=16,
        depth=1,
        num_heads=2,
        deform_heads=2,
        num_points=2,
        drop_path=0.0,
        options={"global_grid": 3, "num_local_anchors": 1, "num_bins": 16},
    )
    config = TrainConfig(epochs=30, batch_size=4, lr=1e-2, seed=1, threads=1, save_every=30)
    summary = train(config, lifter, reader, tmp_path / "run")
    losses = [entry["loss_mm"] for entry in read_log(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]
    run = load_run(tmp_path / "run")
    assert sum(p.numel() for p in run.model.parameters()) == summary.num_parameters
    assert isinstance(run.model, PandaPose)
    shape = prediction(
        run.model.eval()(
            torch.zeros(1, 17, 2),
            torch.zeros(1, 17, 2),
            [torch.zeros(1, *level.map_shape) for level in reader.levels.values()],
        )
    ).shape
    assert shape == (1, 17, 3)
