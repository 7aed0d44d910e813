from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lifter.anchor_decoder import DeformableAttention3d, Scene
from lifter.anchors import Anchors, anchors_to_joints, root_plane_grid
from lifter.depth_context import Depths
from lifter.depth_distribution import DepthMaps

CHANNELS = (6, 4, 5)
SIZES = ((12, 9), (6, 5), (3, 2))


def random_levels(*, samples: int) -> list[Tensor]:
    return [torch.randn(samples, *size, c) for size, c in zip(SIZES, CHANNELS, strict=True)]


def test_a_one_hot_vote_returns_its_anchor_exactly() -> None:
    torch.manual_seed(0)
    anchors = torch.randn(2, 7, 3)
    chosen = torch.tensor([[3, 0, 6], [1, 1, 5]])
    scores = torch.full((2, 7, 3), -torch.inf)
    scores.scatter_(1, chosen[:, None], 0.0)
    joints = anchors_to_joints(anchors, scores, torch.zeros(2, 7, 3, 3))
    expected = anchors.gather(1, chosen[..., None].expand(-1, -1, 3))
    assert torch.equal(joints, expected)
    offsets = torch.randn(2, 7, 3, 3)
    picked = torch.stack(
        [torch.stack([offsets[b, chosen[b, j], j] for j in range(3)]) for b in range(2)]
    )
    moved = anchors_to_joints(anchors, scores, offsets)
    torch.testing.assert_close(moved, expected + picked, rtol=0, atol=0)


def test_joints_are_the_published_sum_over_anchors_and_offsets() -> None:
    torch.manual_seed(0)
    anchors, scores = torch.randn(2, 7, 3).double(), torch.randn(2, 7, 4).double()
    offsets = torch.randn(2, 7, 4, 3).double()
    weights = scores.exp() / scores.exp().sum(1, keepdim=True)
    expected = torch.einsum("baj,bajc->bjc", weights, anchors[:, :, None] + offsets)
    torch.testing.assert_close(anchors_to_joints(anchors, scores, offsets), expected)


def test_without_offsets_joints_lie_in_the_convex_hull_of_the_anchors() -> None:
    torch.manual_seed(0)
    anchors, scores = torch.randn(4, 9, 3).double(), 5 * torch.randn(4, 9, 6).double()
    joints = anchors_to_joints(anchors, scores, torch.zeros(4, 9, 6, 3).double())
    directions = torch.randn(3, 200).double()
    farthest = (anchors @ directions).amax(dim=1, keepdim=True)  # [B, 1, directions]
    assert (joints @ directions <= farthest + 1e-12).all()
    beyond = anchors_to_joints(anchors, scores, torch.ones(4, 9, 6, 3).double() * 4)
    assert (beyond @ directions > farthest).any()


def test_global_anchors_are_a_grid_in_the_plane_of_the_root() -> None:
    grid = root_plane_grid(3, extent_m=0.5)
    values = (-0.5, 0.0, 0.5)
    assert grid.tolist() == [[x, y, 0.0] for y in values for x in values]
    assert root_plane_grid(1, extent_m=0.5).tolist() == [[0.0, 0.0, 0.0]]


def test_local_anchors_are_the_joints_in_metres_plus_a_linear_map_of_the_pose() -> None:
    torch.manual_seed(0)
    anchors = Anchors(num_joints=3, num_local=2, grid_side=2, extent_m=1.0, which="both")
    with torch.no_grad():
        anchors.log_metres_per_unit.copy_(torch.tensor([1.5, 0.8]).log())
    assert anchors.local_offsets is not None
    poses, reference = torch.randn(4, 12), torch.randn(4, 3, 2)
    positions, points = anchors(poses, reference, 0.75)
    delta = anchors.local_offsets(poses).view(4, 3, 2, 3)
    centred = reference - reference.mean(1, keepdim=True)
    for joint in range(3):
        for k in range(2):
            x = centred[:, joint, 0] * 1.5 * 0.75
            y = centred[:, joint, 1] * 0.8
            expected = torch.stack((x, y, torch.zeros(4)), -1) + delta[:, joint, k]
            torch.testing.assert_close(positions[:, 2 * joint + k], expected)
    torch.testing.assert_close(positions[:, 6:], root_plane_grid(2, extent_m=1.0).expand(4, 4, 3))
    with torch.no_grad():
        anchors.local_offsets.weight.zero_()
        anchors.local_offsets.bias.zero_()
    _, at_joints = anchors(poses, reference, 0.75)
    torch.testing.assert_close(at_joints[:, :6:2], reference)
    torch.testing.assert_close(at_joints[:, 6:], points[:, 6:])
    assert anchors.joint_of_local().tolist() == [0, 0, 1, 1, 2, 2]


def depths_of(maps: Tensor, *, num_local: int, range_m: float) -> Depths:
    """Returns distributions [B, G, H, W, N] as read by local anchors, two per map, and by all."""
    batch_size, groups, *size, _ = maps.shape
    corners = torch.zeros(batch_size, groups, 2, dtype=torch.int64)
    shape = (size[0], size[1])
    return Depths(
        joint_logits=(),
        tokens=torch.empty(0),
        local_maps=DepthMaps(maps, corners, shape),
        local_groups=torch.arange(num_local) // 2,
        global_maps=DepthMaps(maps.mean(1, keepdim=True), corners[:, :1], shape),
        range_m=range_m,
    )


def test_deformable_attention_is_the_sum_of_features_times_depths_at_its_points() -> None:
    torch.manual_seed(0)
    samples, groups, num_global, bins, range_m = 2, 2, 3, 6, 0.9
    num_local = 2 * groups
    attention = DeformableAttention3d(
        8, level_channels=CHANNELS, num_heads=2, num_points=3, with_depth=True
    ).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    queries = torch.randn(samples, num_local + num_global, 8).double()
    anchors = torch.randn(samples, num_local + num_global, 3).double() * 0.4
    points = torch.rand(samples, num_local + num_global, 2).double() * 2 - 1
    levels = [level.double() for level in random_levels(samples=samples)]
    maps = torch.randn(samples, groups, *SIZES[1], bins).double().softmax(-1)
    depths = depths_of(maps, num_local=num_local, range_m=range_m)
    found = attention(queries, Scene(anchors, points, levels, None, depths))

    offsets, weights = attention.sampling(queries)
    everyone = torch.cat((maps, maps.mean(1, keepdim=True)), dim=1)
    expected = []
    for b in range(samples):
        for a in range(num_local + num_global):
            volume = everyone[b, a // 2 if a < num_local else groups].permute(2, 0, 1)  # [N, H, W]
            heads = []
            for m in range(2):
                head = torch.zeros(4).double()
                for k in range(3):
                    place = points[b, a] + offsets[b, a, m, k, :2]
                    depth = anchors[b, a, 2] + range_m * offsets[b, a, m, k, 2]
                    cell = (depth + range_m) / (2 * range_m) * bins - 0.5
                    xyz = torch.cat((place, (cell / (bins - 1) * 2 - 1)[None]))
                    probability = F.grid_sample(
                        volume[None, None],
                        xyz.view(1, 1, 1, 1, 3),
                        padding_mode="border",
                        align_corners=True,
                    ).squeeze()
                    for i, level in enumerate(levels):
                        feature = F.grid_sample(
                            level[b].permute(2, 0, 1)[None],
                            place.view(1, 1, 1, 2),
                            padding_mode="border",
                            align_corners=True,
                        ).flatten()
                        lifted = feature * probability * bins
                        head += weights[b, i, a, m, k] * attention.values[i](lifted)
                heads.append(head)
            expected.append(attention.out(torch.cat(heads)))
    torch.testing.assert_close(found.flatten(0, 1), torch.stack(expected), rtol=0, atol=1e-11)
    torch.testing.assert_close(weights.sum(dim=(1, 4)), torch.ones_like(weights[:, 0, ..., 0]))
    without = attention(queries, Scene(anchors, points, levels, None, None))
    assert not torch.allclose(found, without)


def test_where_depth_is_unknown_features_are_read_as_they_are() -> None:
    torch.manual_seed(0)
    attention = DeformableAttention3d(
        8, level_channels=CHANNELS, num_heads=2, num_points=3, with_depth=True
    )
    levels = random_levels(samples=3)
    uniform = torch.full((3, 1, 6, 5, 8), 1 / 8)
    scene = Scene(
        anchors_m=torch.randn(3, 4, 3),
        points=torch.rand(3, 4, 2),
        levels=levels,
        scales=None,
        depths=depths_of(uniform, num_local=2, range_m=1.0),
    )
    queries = torch.randn(3, 4, 8)
    flat = attention(queries, scene._replace(depths=None))
    torch.testing.assert_close(attention(queries, scene), flat)
