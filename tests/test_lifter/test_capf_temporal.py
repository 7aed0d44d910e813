from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter import build_lifter
from lifter.blocks import AttentionBlock
from lifter.errors import LifterConfigError, SamplingError
from lifter.models.capf_temporal import CapfTemporal

CHANNELS, JOINTS, WIDTH, HEADS, DEPTH = (3, 5), 4, 6, 2, 2
MAPS = ((5, 4), (3, 2))


def small(num_frames: int = 3, **options: Any) -> CapfTemporal:
    torch.manual_seed(0)
    model = build_lifter(
        "capf_temporal",
        level_channels=CHANNELS,
        num_joints=JOINTS,
        num_frames=num_frames,
        token_width=WIDTH,
        num_heads=HEADS,
        depth=DEPTH,
        options=options,
    )
    assert isinstance(model, CapfTemporal)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    return model.eval()


def frames(num_rows: int, seed: int = 1) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Returns keypoints and reference points [R, J, 2], and maps, of R frames."""
    made = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(num_rows, JOINTS, 2, generator=made)
    reference = torch.rand(num_rows, JOINTS, 2, generator=made) * 2.4 - 1.2
    levels = [
        torch.randn(num_rows, *size, channels, generator=made)
        for size, channels in zip(MAPS, CHANNELS, strict=True)
    ]
    return keypoints, reference, levels


ROWS = torch.tensor([[0, 0, 1], [0, 1, 2], [3, 4, 3], [2, 1, 0]])


def twin_block(block: AttentionBlock) -> nn.TransformerEncoderLayer:
    width = block.attention.out.in_features
    twin = nn.TransformerEncoderLayer(
        width,
        HEADS,
        dim_feedforward=block.feed_forward.expand.out_features,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    pairs = {
        twin.self_attn.in_proj_weight: block.attention.qkv.weight,
        twin.self_attn.in_proj_bias: block.attention.qkv.bias,
        twin.self_attn.out_proj.weight: block.attention.out.weight,
        twin.self_attn.out_proj.bias: block.attention.out.bias,
        twin.linear1.weight: block.feed_forward.expand.weight,
        twin.linear1.bias: block.feed_forward.expand.bias,
        twin.linear2.weight: block.feed_forward.contract.weight,
        twin.linear2.bias: block.feed_forward.contract.bias,
        twin.norm1.weight: block.attention_norm.weight,
        twin.norm1.bias: block.attention_norm.bias,
        twin.norm2.weight: block.feed_forward_norm.weight,
        twin.norm2.bias: block.feed_forward_norm.bias,
    }
    with torch.no_grad():
        for target, source in pairs.items():
            target.copy_(source)
    return twin.double().train()  # without its fast path


def plainly(model: CapfTemporal, window: tuple[Tensor, Tensor, list[Tensor]]) -> Tensor:
    """Returns [J, 3] of one window in float64: every frame and joint by itself."""
    keypoints, reference, levels = window
    weights = {name: value.double() for name, value in model.state_dict().items()}
    seen = []
    for frame in range(len(keypoints)):
        tokens = []
        for joint in range(JOINTS):
            mine = [keypoints[frame, joint].double() @ weights["pose_embedding.weight"].T]
            mine[0] = mine[0] + weights["pose_embedding.bias"]
            for index, level in enumerate(levels):
                values = level[frame].double().permute(2, 0, 1)[None]
                place = reference[frame, joint].double().view(1, 1, 1, 2)
                found = F.grid_sample(values, place, padding_mode="zeros", align_corners=True)
                name = f"pyramid.projections.{index}"
                projected = found.flatten() @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]
                mine.append(projected)
            token = torch.stack(mine) + weights["position_embedding"][0, :, joint]
            for block in model.fusion_blocks:
                token = twin_block(block)(token[None])[0]
            tokens.append(token.flatten())
        joined = torch.stack(tokens)[None]
        for block in model.joint_blocks:
            joined = twin_block(block)(joined)
        seen.append(joined[0])
    poses = []
    for joint in range(JOINTS):
        path = torch.stack([frame[joint] for frame in seen])
        for block in model.temporal_blocks:
            path = twin_block(block)(path[None])[0]
        gathered = weights["gather_frames.weight"][0, :, 0] @ path + weights["gather_frames.bias"]
        normed = F.layer_norm(
            gathered, gathered.shape, weights["norm.weight"], weights["norm.bias"]
        )
        poses.append(normed @ weights["position.weight"].T + weights["position.bias"])
    return torch.stack(poses)


def test_a_window_is_lifted_as_the_paper_describes() -> None:
    model = small()
    keypoints, reference, levels = frames(5)
    with torch.no_grad():
        output = model(keypoints[ROWS], reference, levels, window_rows=ROWS)
        for window, rows in zip(output, ROWS, strict=True):
            one = (keypoints[rows], reference[rows], [level[rows] for level in levels])
            torch.testing.assert_close(window.double(), plainly(model, one), rtol=1e-4, atol=1e-5)


def test_a_frame_taken_from_another_row_would_be_seen() -> None:
    model = small()
    keypoints, reference, levels = frames(5)
    with torch.no_grad():
        right = model(keypoints[ROWS], reference, levels, window_rows=ROWS)
        wrong = model(keypoints[ROWS], reference, levels, window_rows=ROWS.flip(1))
    assert (right - wrong).abs().max() > 0.01


def gradients(model: CapfTemporal, *, shared: bool) -> dict[str, Tensor]:
    keypoints, reference, levels = frames(5)
    rows, window_rows = torch.arange(5), ROWS
    if not shared:
        rows, window_rows = ROWS.flatten(), torch.arange(ROWS.numel()).view(ROWS.shape)
    output = model(
        keypoints[ROWS], reference[rows], [level[rows] for level in levels], window_rows=window_rows
    )
    model.zero_grad()
    output.square().sum().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def test_sharing_frames_between_windows_leaves_the_gradients() -> None:
    model = small()
    shared, apart = gradients(model, shared=True), gradients(model, shared=False)
    assert len(shared) == len(list(model.parameters()))
    for name, gradient in shared.items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(gradient, apart[name], rtol=1e-3, atol=1e-5 * max(scale, 1.0))


def test_points_read_before_are_the_same_input_as_maps() -> None:
    model = small()
    keypoints, reference, levels = frames(5)
    points = []
    for level in levels:
        sampled = F.grid_sample(
            level.permute(0, 3, 1, 2), reference[:, None], padding_mode="zeros", align_corners=True
        )
        points.append(sampled[:, :, 0].transpose(1, 2))  # [R, J, C]
    with torch.no_grad():
        from_maps = model(keypoints[ROWS], reference, levels, window_rows=ROWS)
        from_points = model(keypoints[ROWS], reference, points, window_rows=ROWS)
    torch.testing.assert_close(from_points, from_maps, rtol=1e-4, atol=1e-5)
    with pytest.raises(SamplingError, match="samples and joints"):
        model(keypoints[ROWS], reference, [each[:, :3] for each in points], window_rows=ROWS)


@pytest.mark.parametrize("num_frames", [1, 3, 9, 27, 81])
def test_windows_of_the_published_lengths_become_one_pose(num_frames: int) -> None:
    model = small(num_frames)
    keypoints, reference, levels = frames(2)
    rows = torch.arange(2)[:, None].expand(2, num_frames)
    with torch.no_grad():
        output = model(keypoints[rows], reference, levels, window_rows=rows)
    assert output.shape == (2, JOINTS, 3)


def test_the_published_sizes_are_the_defaults() -> None:
    model = build_lifter("capf_temporal", level_channels=(32, 64, 128, 256), num_frames=27)
    assert isinstance(model, CapfTemporal)
    assert model.position.in_features == 160
    assert model.temporal_embedding is None
    assert model.gather_frames.weight.shape == (1, 27, 1)
    assert [block.drop_path.probability for block in model.temporal_blocks] == pytest.approx(
        [0.0, 0.2 / 3, 0.4 / 3, 0.2]
    )

    def block(width: int) -> int:  # two norms; qkv, out, expand and contract with biases
        return 4 * width + (3 + 1 + 2 + 2) * width**2 + (3 + 1 + 2 + 1) * width

    embedded = (2 + 1) * 32 + (32 + 64 + 128 + 256 + 4) * 32 + 5 * 17 * 32
    counted = embedded + 4 * block(32) + 8 * block(160) + (27 + 1) + 2 * 160 + (160 + 1) * 3
    assert sum(p.numel() for p in model.parameters()) == counted


def test_time_is_told_by_the_gathering_alone_unless_asked_for() -> None:
    plain, told = small(), small(temporal_embedding=True)
    keypoints, reference, levels = frames(5)
    for model, differs in ((plain, False), (told, True)):
        with torch.no_grad():
            model.gather_frames.weight.fill_(1 / 3)  # all frames alike
            one, other = (
                model(keypoints[rows], reference, levels, window_rows=rows)
                for rows in (ROWS, ROWS.flip(1))
            )
        assert bool((one - other).abs().max() > 1e-3) is differs


def test_what_it_cannot_read_is_refused() -> None:
    model = small()
    keypoints, reference, levels = frames(5)
    with pytest.raises(LifterConfigError, match="window_rows"):
        model(keypoints[ROWS], reference, levels)
    with pytest.raises(LifterConfigError, match="windows of 3 frames, got 2"):
        model(keypoints[ROWS[:, :2]], reference, levels, window_rows=ROWS[:, :2])
    with pytest.raises(LifterConfigError, match="level_channels is empty"):
        build_lifter("capf_temporal", num_frames=3)
    capf = build_lifter("capf", level_channels=CHANNELS, num_joints=JOINTS, width=8)
    points = [torch.zeros(5, JOINTS, channels) for channels in CHANNELS]
    with pytest.raises(LifterConfigError, match="fusion='full' samples maps"):
        capf(keypoints, reference, points)
