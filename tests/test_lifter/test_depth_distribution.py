from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lifter.depth_distribution import (
    DepthMaps,
    DepthNet,
    at_joints,
    depth_bins,
    ordinal_loss,
    sample_distributions,
)

RANGE_M = 0.8
SIZE = (6, 5)  # H, W
NUM_BINS = 7


def random_maps(*, groups: int = 3, seed: int = 0) -> DepthMaps:
    """Returns distributions in float64 over all cells of two samples."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(2, groups, *SIZE, NUM_BINS, generator=generator, dtype=torch.float64)
    corners = torch.zeros(2, groups, 2, dtype=torch.int64)
    return DepthMaps(logits.softmax(-1), corners, SIZE)


def random_places(*, anchors: int = 4, seed: int = 1) -> tuple[Tensor, Tensor]:
    """Returns points [2, A, 5, 2] and depths, some outside the maps and the range."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(2, anchors, 5, 3, generator=generator, dtype=torch.float64) * 2.6 - 1.3
    return places[..., :2], places[..., 2] * RANGE_M


def grid_sampled(maps: DepthMaps, groups: Tensor, points: Tensor, depths_m: Tensor) -> Tensor:
    """Returns the same by PyTorch's trilinear `grid_sample`, one volume per sample and anchor."""
    bins = (depths_m + RANGE_M) / (2 * RANGE_M) * NUM_BINS - 0.5
    grid = torch.cat((points, (bins / (NUM_BINS - 1) * 2 - 1)[..., None]), dim=-1)
    volumes = maps.values[:, groups].permute(0, 1, 4, 2, 3).flatten(0, 1)  # [B A, N, H, W]
    sampled = F.grid_sample(
        volumes[:, None],
        grid.flatten(0, 1)[:, None, None],
        padding_mode="border",
        align_corners=True,
    )
    return sampled.view(depths_m.shape)


def test_ordinal_loss_is_that_computed_by_hand() -> None:
    probabilities = torch.tensor([[[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1]]])
    bins = torch.tensor([[2, 0]])
    # Up to bin k: 0.1, 0.3, 0.6, 1 and 0.7, 0.8, 0.9, 1.
    first = -(math.log(0.9) + math.log(0.7) + math.log(0.6))
    second = -(math.log(0.7) + math.log(0.8) + math.log(0.9))
    logits = probabilities.log() + 3.0
    assert ordinal_loss(logits, bins).item() == pytest.approx((first + second) / 2, rel=1e-5)
    only = torch.tensor([[True, False]])
    assert ordinal_loss(logits, bins, only).item() == pytest.approx(first, rel=1e-5)
    assert ordinal_loss(logits, bins, ~only & False).item() == 0.0
    wrong = ordinal_loss(logits, bins + 1).item()
    assert wrong != pytest.approx((first + second) / 2, rel=1e-2)


def test_ordinal_loss_is_binary_cross_entropy_of_the_cumulative_distribution() -> None:
    torch.manual_seed(0)
    logits = torch.randn(3, 5, 9, dtype=torch.float64)
    bins = torch.randint(0, 9, (3, 5))
    until = logits.softmax(-1).cumsum(-1)[..., :-1]
    reached = (torch.arange(8) >= bins[..., None]).double()
    expected = F.binary_cross_entropy(until, reached, reduction="none").sum(-1).mean()
    torch.testing.assert_close(ordinal_loss(logits, bins), expected)


def test_ordinal_loss_prefers_the_nearer_of_two_wrong_bins() -> None:
    logits = 8.0 * F.one_hot(torch.tensor([[3], [6]]), 10).float()
    true = torch.tensor([[2], [2]])
    near, far = (ordinal_loss(logits[i : i + 1], true[:1]) for i in (0, 1))
    assert near < far


def test_ordinal_loss_stays_finite_where_a_bin_is_all_but_certain() -> None:
    logits = torch.zeros(1, 1, 64)
    logits[..., 63] = 300.0
    logits.requires_grad_()
    loss = ordinal_loss(logits, torch.tensor([[0]]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_bins_part_the_range_evenly_and_take_what_lies_beyond() -> None:
    depths = torch.tensor([-5.0, -1.0, -0.51, -0.49, -1e-6, 0.0, 0.5, 0.999, 1.0, 7.0])
    found = depth_bins(depths, num_bins=4, range_m=1.0)
    assert found.tolist() == [0, 0, 0, 1, 1, 2, 3, 3, 3, 3]


def test_samples_and_all_gradients_are_those_of_a_trilinear_grid_sample() -> None:
    maps, (points, depths) = random_maps(), random_places()
    groups = torch.tensor([2, 0, 0, 1])
    results = []
    for sample in (
        lambda *given: sample_distributions(*given, range_m=RANGE_M),
        grid_sampled,
    ):
        inputs = [t.clone().requires_grad_() for t in (maps.values, points, depths)]
        found = sample(maps._replace(values=inputs[0]), groups, *inputs[1:])
        weights = torch.linspace(-1, 2, found.numel(), dtype=torch.float64).view(found.shape)
        results.append((found.detach(), *torch.autograd.grad((found * weights).sum(), inputs)))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("fault", ["axes", "groups", "bins"])
def test_comparison_with_grid_sample_sees_a_fault(fault: str) -> None:
    maps, (points, depths) = random_maps(), random_places()
    groups = torch.tensor([2, 0, 0, 1])
    expected = grid_sampled(maps, groups, points, depths)
    if fault == "axes":
        points = points.flip(-1)
    elif fault == "groups":
        groups = groups.flip(0)
    else:
        depths = depths + RANGE_M / NUM_BINS
    found = sample_distributions(maps, groups, points, depths, range_m=RANGE_M)
    assert (found - expected).abs().max() > 0.01


def test_centres_of_cells_and_bins_return_what_is_stored() -> None:
    maps = random_maps(groups=1)
    row, column, index = 4, 1, 5
    point = torch.tensor([2 * column / (SIZE[1] - 1) - 1, 2 * row / (SIZE[0] - 1) - 1]).double()
    depth = torch.tensor(RANGE_M * ((2 * index + 1) / NUM_BINS - 1)).double()
    found = sample_distributions(
        maps,
        torch.tensor([0]),
        point.expand(2, 1, 1, 2),
        depth.expand(2, 1, 1),
        range_m=RANGE_M,
    )
    torch.testing.assert_close(found[:, 0, 0], maps.values[:, 0, row, column, index])


def test_a_level_of_one_cell_and_one_bin_is_constant() -> None:
    maps = DepthMaps(torch.rand(2, 1, 1, 1, 1), torch.zeros(2, 1, 2, dtype=torch.int64), (1, 1))
    points, depths = random_places(anchors=1)
    found = sample_distributions(
        maps, torch.tensor([0]), points.float(), depths.float(), range_m=RANGE_M
    )
    torch.testing.assert_close(found, maps.values.view(2, 1, 1).expand_as(found))


def test_a_window_reads_as_the_whole_map_inside_and_repeats_its_border_outside() -> None:
    whole = random_maps(groups=1)
    corners = torch.tensor([[[1, 2]], [[2, 3]]])  # column, row
    parts = [whole.values[b, 0, r : r + 3, c : c + 3] for b, (c, r) in enumerate(corners[:, 0])]
    window = DepthMaps(torch.stack(parts)[:, None], corners, SIZE)
    points, depths = random_places(anchors=1)
    last = torch.tensor([SIZE[1] - 1, SIZE[0] - 1])
    inside = corners[:, :, None] + (points + 1.3) / 2.6 * 2  # cells of each window
    only = torch.tensor([0])

    def read(maps: DepthMaps, cells: Tensor) -> Tensor:
        return sample_distributions(maps, only, cells / last * 2 - 1, depths, range_m=RANGE_M)

    torch.testing.assert_close(read(window, inside), read(whole, inside))
    outside = inside + torch.tensor([0.0, 5.0])
    held = torch.stack(
        (outside[..., 0], torch.minimum(outside[..., 1], corners[:, :, None, 1] + 2.0)), dim=-1
    )
    torch.testing.assert_close(read(window, outside), read(whole, held))
    assert not torch.allclose(read(window, outside), read(whole, outside))


@pytest.mark.parametrize("window", [1, 3, 4, 50])
def test_distributions_in_windows_are_those_of_the_whole_level(window: int) -> None:
    torch.manual_seed(0)
    net = DepthNet(4, 8, num_joints=3, num_bins=NUM_BINS, own=True, shared=True)
    level = torch.randn(2, *SIZE, 4)
    points = torch.rand(2, 3, 2) * 2.6 - 1.3
    whole, shared = net(level, points, None)
    part, _ = net(level, points, window)
    assert whole is not None
    assert part is not None
    assert shared is not None
    assert whole.values.shape == (2, 3, *SIZE, NUM_BINS)
    assert shared.values.shape == (2, 1, *SIZE, NUM_BINS)
    sides = (min(window, SIZE[0]), min(window, SIZE[1]))
    assert part.values.shape == (2, 3, *sides, NUM_BINS)
    torch.testing.assert_close(at_joints(part, points), at_joints(whole, points))
    for b in range(2):
        for j in range(3):
            column, row = part.corners[b, j].tolist()
            assert 0 <= column <= SIZE[1] - sides[1]
            assert 0 <= row <= SIZE[0] - sides[0]
            expected = whole.values[b, j, row : row + sides[0], column : column + sides[1]]
            torch.testing.assert_close(part.values[b, j], expected)


def test_each_joint_has_a_linear_map_of_its_own_and_all_share_another() -> None:
    torch.manual_seed(0)
    net = DepthNet(4, 8, num_joints=3, num_bins=NUM_BINS, own=True, shared=True)
    seen: list[Tensor] = []
    net.mix.register_forward_hook(lambda _module, _inputs, output: seen.append(F.gelu(output)))
    own, shared = net(torch.randn(2, *SIZE, 4), torch.zeros(2, 3, 2), None)
    hidden = seen[0].permute(0, 2, 3, 1)
    assert net.own is not None
    assert net.shared is not None
    assert own is not None
    assert shared is not None
    expected = net.own(hidden).view(2, *SIZE, 3, NUM_BINS).permute(0, 3, 1, 2, 4)
    torch.testing.assert_close(own.values, expected)
    torch.testing.assert_close(shared.values[:, 0], net.shared(hidden))


def test_joints_read_their_nearest_cell_and_outside_the_border() -> None:
    maps = random_maps(groups=2)
    cells = torch.tensor([[[1.4, 2.6], [-3.0, 9.0]]]).expand(2, -1, -1)  # column, row
    points = cells / torch.tensor([SIZE[1] - 1, SIZE[0] - 1]) * 2 - 1
    found = at_joints(maps, points)
    torch.testing.assert_close(found[:, 0], maps.values[:, 0, 3, 1])
    torch.testing.assert_close(found[:, 1], maps.values[:, 1, 5, 0])
    alone = at_joints(maps._replace(values=maps.values[:, :1]), points)
    torch.testing.assert_close(alone[:, 1], maps.values[:, 0, 5, 0])
