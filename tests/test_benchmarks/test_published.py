import pytest
import torch
from torch import nn

from benchmarks.published.design import (
    LAYOUTS,
    FrozenHRNet,
    PublishedDesign,
    PublishedOnMaps,
    fold_norms,
)
from benchmarks.published.lifter import PublishedLifter
from cache.skeletons import get_skeleton
from lifter import load_published_capf
from stages.extract.detectors.mmpose.hrnet import build_hrnet_config
from tests.test_lifter.published_twin import published_forward, random_weights

CHANNELS, SIZES = (8, 16, 32, 64), ((8, 6), (4, 3), (2, 2), (1, 1))


@pytest.fixture(scope="module")
def batch() -> tuple[torch.Tensor, torch.Tensor, list[torch.Tensor]]:
    """Joints, reference points (some outside the crop) and maps [B, H, W, C]."""
    generator = torch.Generator().manual_seed(1)
    keypoints = torch.randn(3, 17, 2, generator=generator)
    points = torch.rand(3, 17, 2, generator=generator) * 2.4 - 1.2
    levels = [
        torch.randn(3, *size, channels, generator=generator)
        for size, channels in zip(SIZES, CHANNELS, strict=True)
    ]
    return keypoints, points, levels


@pytest.fixture(scope="module")
def network() -> FrozenHRNet:
    torch.manual_seed(0)
    config = build_hrnet_config(get_skeleton("H36M17"), base_channels=8, input_size=(64, 64))
    return FrozenHRNet(config)


def loaded() -> PublishedLifter:
    lifter = PublishedLifter(CHANNELS)
    lifter.load_state_dict(random_weights(CHANNELS))
    return lifter.eval()


def test_it_has_as_many_parameters_as_the_published_one():
    for channels, count in (((32, 64, 128, 256), 14_094_147), ((48, 96, 192, 384), 14_155_587)):
        lifter = PublishedLifter(channels)
        assert sum(p.numel() for p in lifter.parameters()) == count


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_computes_what_the_published_network_computes(batch, layout):
    keypoints, points, levels = batch
    maps = [level.permute(0, 3, 1, 2) for level in levels]
    expected = published_forward(random_weights(CHANNELS), keypoints, points, maps)
    found = PublishedOnMaps(loaded(), layout=layout)(keypoints, points, levels)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


def test_a_moved_joint_changes_it(batch):
    keypoints, points, levels = batch
    model = PublishedOnMaps(loaded(), layout="contiguous")
    difference = model(keypoints, points, levels) - model(keypoints, points + 0.1, levels)
    assert difference.abs().amax() > 1e-3


def test_its_gradients_are_those_of_the_lifter_of_this_project(batch):
    keypoints, points, levels = batch
    published = loaded()
    own = load_published_capf(random_weights(CHANNELS))
    PublishedOnMaps(published, layout="channels_last")(
        keypoints, points, levels
    ).square().sum().backward()
    own(keypoints, points, levels).square().sum().backward()
    for theirs, ours in (
        (published.context_blocks[1].sampling_offsets, own.context_blocks[1].sampling_offsets),
        (published.context_blocks[2].embed_proj[0], own.context_blocks[2].values[0]),
        (published.feat_embed[3], own.pyramid.projections[3]),
    ):
        scale = ours.weight.grad.abs().amax()
        torch.testing.assert_close(
            theirs.weight.grad / scale, ours.weight.grad / scale, rtol=0, atol=1e-4
        )


def test_it_starts_from_the_published_initial_offsets():
    found = (
        PublishedLifter(CHANNELS).context_blocks[0].sampling_offsets.bias.unflatten(0, (4, 4, 2))
    )
    torch.testing.assert_close(found[0], 0.01 * torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    torch.testing.assert_close(found[1], found[0].flip(-1), rtol=0, atol=1e-8)


def test_the_network_in_the_loop_gives_the_maps_that_extraction_caches(network):
    from stages.extract.detectors.mmpose.topdown import MmposeTopdown

    config = build_hrnet_config(get_skeleton("H36M17"), base_channels=8, input_size=(64, 64))
    detector = MmposeTopdown(config, None)
    detector.model.backbone.load_state_dict(network.backbone.state_dict())
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    expected = detector.detect(crops.numpy()).features
    for found, features in zip(network(crops), expected.values(), strict=True):
        torch.testing.assert_close(found.permute(0, 2, 3, 1), torch.from_numpy(features))


def test_training_leaves_the_network_in_evaluation_mode_and_without_gradients(network, batch):
    keypoints, points, _ = batch
    model = PublishedDesign(network, PublishedLifter(CHANNELS), layout="contiguous").train()
    assert not any(module.training for module in network.modules())
    assert model.lifter.joint_blocks[3].drop_path.training
    before = {name: value.clone() for name, value in network.state_dict().items()}
    crops = torch.randint(0, 256, (3, 64, 64, 3), dtype=torch.uint8)
    model(keypoints, points, [crops]).square().sum().backward()
    assert all(p.grad is None for p in network.parameters())
    assert all(p.grad is not None for p in model.lifter.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


def test_weights_held_in_half_precision_give_what_autocast_gives(network):
    config = build_hrnet_config(get_skeleton("H36M17"), base_channels=8, input_size=(64, 64))
    half = FrozenHRNet(config, half=True)
    half.load_state_dict(network.state_dict())
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for found, expected in zip(half(crops), network(crops), strict=True):
            assert found.dtype == torch.bfloat16
            assert torch.equal(found, expected)


def test_norms_folded_into_convolutions_give_the_same_maps():
    config = build_hrnet_config(get_skeleton("H36M17"), base_channels=8, input_size=(64, 64))
    torch.manual_seed(0)
    plain = FrozenHRNet(config)
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.1, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.bias.uniform_(-0.1, 0.1)
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    expected = [level.clone() for level in plain(crops)]
    fold_norms(plain.backbone)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in plain.modules())
    for found, level in zip(plain(crops), expected, strict=True):
        torch.testing.assert_close(found, level, rtol=1e-3, atol=1e-4 * float(level.abs().max()))
    folded = FrozenHRNet(config, folded=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
