"""Lifters that need 2D joints only: sizes, structure, what they see, and their losses."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lifter import Lifter, build_lifter
from lifter.errors import LifterConfigError
from lifter.losses import mpjpe
from lifter.norms import BatchNorm
from lifter.weighted_losses import weighted_sequence_loss

PUBLISHED_WEIGHTS = (1, 1, 2.5, 2.5, 1, 2.5, 2.5, 1, 1, 1, 1.5, 1.5, 4, 4, 1.5, 4, 4)
JOINTS = 17


def small(name: str, seed: int = 0, **options: Any) -> Lifter:
    torch.manual_seed(seed)
    sizes: dict[str, Any] = {"width": 16, "depth": 2, "num_heads": 2, "deform_heads": 2}
    return build_lifter(name, **{**sizes, **options})


def count(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def stirred(model: Lifter) -> Lifter:
    """In evaluation mode, with norms that are not the identity and embeddings that are not 0."""
    torch.manual_seed(3)
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if "running_mean" in name or name.endswith(("positions", "norm.bias")):
                tensor.normal_(std=0.3)
            elif "running_var" in name or name.endswith("norm.weight"):
                tensor.uniform_(0.5, 1.5)
    return model.eval()


def keypoints(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, JOINTS, 2, generator=torch.Generator().manual_seed(seed))


# Sizes.


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def transformer_block(width: int) -> int:
    attention = dense(width, 3 * width) + dense(width, width)
    return attention + dense(width, 2 * width) + dense(2 * width, width) + 2 * 2 * width


def temporal_convolutions(num_blocks: int) -> int:
    block = 3 * 1024 * 1024 + 1024 * 1024 + 2 * 2 * 1024
    return 34 * 3 * 1024 + 2 * 1024 + num_blocks * block + dense(1024, 51)


def poseformer_size(frames: int) -> int:
    embedding = dense(2, 32) + 17 * 32 + frames * 544
    norms = 2 * 32 + 2 * 544 + 2 * 544
    blocks = 4 * (transformer_block(32) + transformer_block(544))
    return embedding + blocks + norms + (frames + 1) + dense(544, 51)


def mixste_size(frames: int) -> int:
    embedding = dense(2, 512) + (17 + frames) * 512
    return embedding + 16 * transformer_block(512) + 3 * 2 * 512 + dense(512, 3)


SIZES = {
    "simple_baseline": (
        {"num_joints": 16},
        dense(32, 1024) + 2048 + 4 * (dense(1024, 1024) + 2048) + dense(1024, 48),
        4.29,
    ),
    "videopose3d 27": ({"num_frames": 27}, temporal_convolutions(2), 8.56),
    "videopose3d 81": ({"num_frames": 81}, temporal_convolutions(3), 12.75),
    "videopose3d 243": ({"num_frames": 243}, temporal_convolutions(4), 16.95),
    "poseformer 81": ({"num_frames": 81}, poseformer_size(81), 9.60),
    "mixste 81": ({"num_frames": 81}, mixste_size(81), 33.70),
}


@pytest.mark.parametrize("case", SIZES)
def test_default_sizes_are_the_published_ones(case: str) -> None:
    options, by_hand, millions = SIZES[case]
    found = count(build_lifter(case.split()[0], **options))
    assert found == by_hand
    assert found == pytest.approx(millions * 1e6, abs=5e3)


def test_sizes_can_be_set_apart_from_the_common_width() -> None:
    baseline = small("simple_baseline", options={"hidden": 24, "num_blocks": 3})
    layers = dense(34, 24) + 48 + 6 * (dense(24, 24) + 48) + dense(24, 51)
    assert count(baseline) == layers
    convolutions = small("videopose3d", num_frames=3, options={"channels": 10})
    assert count(convolutions) == 34 * 3 * 10 + 20 + dense(10, 51)
    poses = small("poseformer", num_frames=3, token_width=6)
    assert poses.get_parameter("frame_positions").shape == (1, 3, 17 * 6)
    tokens = small("mixste", num_frames=3, token_width=6)
    assert tokens.get_parameter("frame_positions").shape == (1, 3, 1, 6)


REFUSED = {
    "no power of three": ("videopose3d", {"num_frames": 15}, "1, 3, 9, 27, 81 or 243, got 15"),
    "no channels": ("videopose3d", {"options": {"channels": 0}}, "at least one channel"),
    "no hidden values": ("simple_baseline", {"options": {"hidden": 0}}, "hidden=0"),
    "heads": ("poseformer", {"width": 16, "num_heads": 8}, "tokens of 4 values.*multiple of 4 x"),
    "causal": ("mixste", {"causal": True}, "all but the last would see later ones"),
    "weights": ("mixste", {"options": {"joint_weights": [1.0]}}, "1 numbers, but there are 17"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_built_is_refused_with_its_reason(case: str) -> None:
    name, options, message = REFUSED[case]
    with pytest.raises(LifterConfigError, match=message):
        small(name, **options)


@pytest.mark.parametrize("name", ["videopose3d", "poseformer", "mixste"])
def test_windows_of_another_length_are_refused(name: str) -> None:
    model = small(name, num_frames=1)
    for wrong in (keypoints(2, 3), keypoints(2)):
        with pytest.raises(LifterConfigError, match=rf"{name} was built for .*\[B, 1, J, 2\], got"):
            model(wrong)


# Structure, against twins written with torch.nn.functional.


def normalised(frames: Tensor, state: dict[str, Tensor], prefix: str) -> Tensor:
    return F.batch_norm(
        frames,
        state[f"{prefix}.running_mean"],
        state[f"{prefix}.running_var"],
        state[f"{prefix}.weight"],
        state[f"{prefix}.bias"],
    ).relu()


def test_the_baseline_is_linear_layers_with_two_residual_blocks() -> None:
    model = stirred(small("simple_baseline", depth=4))
    state, points = dict(model.state_dict()), keypoints(5)

    def layer(values: Tensor, prefix: str) -> Tensor:
        linear = values @ state[f"{prefix}.linear.weight"].T + state[f"{prefix}.linear.bias"]
        return normalised(linear, state, f"{prefix}.norm")

    hidden = layer(points.reshape(5, 34), "expand")
    for block in ("blocks.0", "blocks.1"):
        hidden = hidden + layer(layer(hidden, f"{block}.0"), f"{block}.1")
    expected = hidden @ state["position.weight"].T + state["position.bias"]
    with torch.no_grad():
        torch.testing.assert_close(model(points), expected.view(5, 17, 3))


def dilated(model: Lifter, sequence: Tensor, *, causal: bool, dilation: int = 3) -> Tensor:
    """The published sliding form: [T, J, 2] -> [T - F + 1, J, 3], for `dilation` 3."""
    state = dict(model.state_dict())
    hidden = sequence.reshape(1, len(sequence), -1).transpose(1, 2)
    hidden = F.conv1d(hidden, state["expand.convolution.weight"])
    hidden = normalised(hidden, state, "expand.norm")
    spread = 1
    for block in range(sum(name.endswith("gather.convolution.weight") for name in state)):
        spread *= dilation
        prefix = f"blocks.{block}"
        kernel = state[f"{prefix}.gather.convolution.weight"]
        reach = (kernel.shape[-1] - 1) * spread
        mixed = F.conv1d(hidden, kernel, dilation=spread)
        mixed = normalised(mixed, state, f"{prefix}.gather.norm")
        mixed = F.conv1d(mixed, state[f"{prefix}.mix.convolution.weight"])
        mixed = normalised(mixed, state, f"{prefix}.mix.norm")
        begin = reach if causal else reach // 2
        hidden = hidden[..., begin : begin + mixed.shape[-1]] + mixed
    poses = F.conv1d(hidden, state["position.weight"], state["position.bias"])
    return poses[0].T.reshape(-1, JOINTS, 3)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("num_frames", [3, 9, 27])
def test_strides_on_windows_equal_dilations_along_the_sequence(
    num_frames: int, causal: bool
) -> None:
    model = stirred(small("videopose3d", num_frames=num_frames, causal=causal))
    sequence = keypoints(num_frames + 6)
    windows = torch.stack([sequence[i : i + num_frames] for i in range(7)])
    with torch.no_grad():
        found, expected = model(windows), dilated(model, sequence, causal=causal)
        assert found.shape == expected.shape == (7, JOINTS, 3)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        if num_frames > 3:  # the comparison sees other dilations, and another residual frame
            other = dilated(model, sequence, causal=not causal)
            assert (found - other).abs().max() > 1e-2
            denser = dilated(model, sequence, causal=causal, dilation=2)
            assert (found - denser[:7]).abs().max() > 1e-2


def test_a_single_frame_takes_filters_of_one_frame() -> None:
    model = stirred(small("videopose3d", num_frames=1))
    points = keypoints(4)
    with torch.no_grad():
        # One frame after another, as a sequence: no filter looks beyond its own.
        torch.testing.assert_close(model(points[:, None]), dilated(model, points, causal=False))


@pytest.mark.parametrize("name", ["videopose3d", "poseformer", "mixste"])
def test_exactly_the_frames_of_the_window_influence_a_pose(name: str) -> None:
    model = stirred(small(name, num_frames=9))
    windows = keypoints(2, 9).requires_grad_()
    poses = model(windows)
    pose = poses[0, 4] if model.predicts_windows else poses[0]
    pose.square().sum().backward()
    assert windows.grad is not None
    seen = windows.grad.abs().sum((-1, -2)) > 1e-9
    assert seen[0].all()
    assert not seen[1].any()


def influences(model: Lifter, length: int, output: int, *, causal: bool) -> list[int]:
    sequence = keypoints(length).requires_grad_()
    dilated(model, sequence, causal=causal)[output].sum().backward()
    assert sequence.grad is not None
    return sequence.grad.abs().sum((-1, -2)).nonzero().flatten().tolist()


def test_causal_convolutions_carry_their_last_frame_on() -> None:
    for causal, carried in ((False, 4), (True, 8)):
        model = stirred(small("videopose3d", num_frames=9, causal=causal))
        assert influences(model, 12, 2, causal=causal) == list(range(2, 11))
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.startswith("blocks") and "norm" in name:
                    parameter.zero_()  # only the residual connections are left
            group = carried // 3 * 3
            model.get_parameter("position.weight").fill_(1.0)
        windows = keypoints(1, 9).requires_grad_()
        model(windows).sum().backward()
        assert windows.grad is not None
        seen = windows.grad.abs().sum((0, 2, 3)).nonzero().flatten().tolist()
        assert seen == [group, group + 1, group + 2], causal


def encoder_layer(block: nn.Module, width: int, num_heads: int) -> nn.TransformerEncoderLayer:
    """PyTorch's own pre-norm transformer layer with the weights of an `AttentionBlock`."""
    layer = nn.TransformerEncoderLayer(
        width,
        num_heads,
        2 * width,
        dropout=0.0,
        activation="gelu",
        layer_norm_eps=1e-6,
        batch_first=True,
        norm_first=True,
    )
    names = {
        "self_attn.in_proj_": "attention.qkv.",
        "self_attn.out_proj.": "attention.out.",
        "linear1.": "feed_forward.expand.",
        "linear2.": "feed_forward.contract.",
        "norm1.": "attention_norm.",
        "norm2.": "feed_forward_norm.",
    }
    own = block.state_dict()
    layer.load_state_dict(
        {f"{a}{kind}": own[f"{b}{kind}"] for a, b in names.items() for kind in ("weight", "bias")}
    )
    return layer.train()  # without dropout the same, and not PyTorch's fused path


def submodule(model: Lifter, name: str) -> Any:
    return model.get_submodule(name)


def test_poseformer_is_two_transformers_and_a_weighted_mean() -> None:
    model = stirred(small("poseformer", width=32, num_frames=5))
    windows = keypoints(3, 5)
    with torch.no_grad():
        poses = []
        for frame in range(5):
            tokens = submodule(model, "joint_embedding")(windows[:, frame])
            tokens = tokens + model.get_parameter("joint_positions")
            for block in submodule(model, "spatial_blocks"):
                tokens = encoder_layer(block, 8, 2)(tokens)
            poses.append(submodule(model, "spatial_norm")(tokens).reshape(3, -1))
        frames = torch.stack(poses, dim=1) + model.get_parameter("frame_positions")
        for block in submodule(model, "temporal_blocks"):
            frames = encoder_layer(block, 8 * JOINTS, 2)(frames)
        frames = submodule(model, "temporal_norm")(frames)
        mean = submodule(model, "weighted_mean")
        pooled = torch.einsum("f,bfd->bd", mean.weight[0, :, 0], frames) + mean.bias
        expected = submodule(model, "position")(submodule(model, "head_norm")(pooled))
        torch.testing.assert_close(model(windows), expected.view(3, JOINTS, 3))
        swapped = model(windows[:, [1, 0, 2, 3, 4]])  # the comparison sees the order of frames
        assert (swapped - expected.view(3, JOINTS, 3)).abs().max() > 1e-3


def test_mixste_attends_among_joints_and_through_time_in_turn() -> None:
    model = stirred(small("mixste", num_frames=5, depth=1))
    windows = keypoints(3, 5)
    with torch.no_grad():
        tokens = submodule(model, "joint_embedding")(windows)
        tokens = tokens + model.get_parameter("joint_positions")
        pairs = zip(
            submodule(model, "spatial_blocks"), submodule(model, "temporal_blocks"), strict=True
        )
        for index, (spatial, temporal) in enumerate(pairs):
            one, other = encoder_layer(spatial, 64, 2), encoder_layer(temporal, 64, 2)
            tokens = torch.stack([one(tokens[:, frame]) for frame in range(5)], dim=1)
            tokens = submodule(model, "spatial_norm")(tokens)
            if index == 0:
                tokens = tokens + model.get_parameter("frame_positions")
            tokens = torch.stack([other(tokens[:, :, joint]) for joint in range(JOINTS)], dim=2)
            tokens = submodule(model, "temporal_norm")(tokens)
        expected = submodule(model, "position")(submodule(model, "head_norm")(tokens))
        found = model(windows)
        assert index == 1
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert (found - found.flip(1)).abs().max() > 1e-3


# Batch normalisation of a batch of one.


@pytest.mark.parametrize("name", ["simple_baseline", "videopose3d"])
def test_a_last_batch_of_one_trains_and_leaves_its_statistics_alone(name: str) -> None:
    model = small(name).train()
    window = (1,) if model.reads_windows else ()
    model(keypoints(6, *window))  # something to have learned
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    model(keypoints(1, *window)).sum().backward()
    after = model.state_dict()
    assert all(torch.equal(after[key], before[key]) for key in before)
    assert all(parameter.grad is not None for parameter in model.parameters())
    model(keypoints(2, *window))
    assert not torch.equal(after["expand.norm.running_mean"], before["expand.norm.running_mean"])


@pytest.mark.parametrize("shape", [(4, 6), (1, 6, 3), (2, 6, 1)])
def test_more_than_one_value_is_normalised_as_by_torch(shape: tuple[int, ...]) -> None:
    ours, theirs = BatchNorm(6), nn.BatchNorm1d(6)
    values = torch.randn(*shape)
    torch.testing.assert_close(ours(values), theirs(values), rtol=0, atol=0)
    for mine, its in zip(ours.buffers(), theirs.buffers(), strict=True):
        assert torch.equal(mine, its)
    with pytest.raises(ValueError, match="more than 1 value"):
        theirs(torch.randn(1, 6))
    assert ours(torch.randn(1, 6)).isfinite().all()


# The loss of sequences.


def sequence_loss_by_hand(
    predicted: np.ndarray, target: np.ndarray, valid: np.ndarray, weights: Any, terms: Any
) -> float:
    windows, frames, joints, _ = predicted.shape
    velocity_weight, consistency_weight = terms
    total = 0.0
    for b in range(windows):
        for j in range(joints):
            for f in range(frames):
                if valid[b, f, j]:
                    total += weights[j] * math.dist(predicted[b, f, j], target[b, f, j])
                if f and valid[b, f, j] and valid[b, f - 1, j]:
                    step = predicted[b, f, j] - predicted[b, f - 1, j]
                    true_step = target[b, f, j] - target[b, f - 1, j]
                    own = velocity_weight * math.dist(step, true_step)
                    own += consistency_weight * weights[j] * float((step**2).mean())
                    total += own * frames / (frames - 1)
    return total / max(int(valid.sum()), 1)


@pytest.mark.parametrize("terms", [(0.0, 0.0), (2.0, 0.0), (0.0, 0.5), (2.0, 0.5)])
@pytest.mark.parametrize("share", [1.0, 0.7, 0.0])
@pytest.mark.parametrize("frames", [1, 3, 5])
def test_the_loss_of_sequences_is_that_of_plain_loops(
    frames: int, share: float, terms: tuple[float, float]
) -> None:
    rng = np.random.default_rng(0)
    predicted, target = rng.normal(size=(2, 3, frames, JOINTS, 3)).astype(np.float32)
    valid = rng.random((3, frames, JOINTS)) < share
    model = small(
        "mixste",
        num_frames=frames,
        options={
            "velocity_weight": terms[0],
            "consistency_weight": terms[1],
            "joint_weights": list(PUBLISHED_WEIGHTS),
        },
    )
    found = model.loss(*(torch.from_numpy(array) for array in (predicted, target, valid)))
    expected = sequence_loss_by_hand(predicted, target, valid, PUBLISHED_WEIGHTS, terms)
    assert float(found) == pytest.approx(expected, rel=1e-5)
    if share == 1.0:
        assert float(model.loss(torch.from_numpy(predicted), torch.from_numpy(target))) == float(
            found
        )


def test_with_all_joints_valid_the_terms_are_the_published_means() -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 3, 7, JOINTS, 3).unbind()
    weights = torch.tensor(PUBLISHED_WEIGHTS)
    steps = predicted[:, 1:] - predicted[:, :-1]
    published = (
        (weights * (predicted - target).norm(dim=-1)).mean()
        + 2.0 * (steps - (target[:, 1:] - target[:, :-1])).norm(dim=-1).mean()
        + 0.5 * (weights[:, None] * steps**2).mean()
    )
    found = weighted_sequence_loss(
        predicted, target, joint_weights=weights, velocity_weight=2.0, consistency_weight=0.5
    )
    torch.testing.assert_close(found, published)


def test_the_losses_of_parts_add_up_to_that_of_the_batch() -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 8, 5, JOINTS, 3).unbind()
    valid = torch.rand(8, 5, JOINTS) < 0.6
    model = small("mixste", num_frames=5, options={"consistency_weight": 0.5})
    parts = [slice(0, 3), slice(3, 8)]
    joined = sum(
        model.loss(predicted[part], target[part], valid[part]) * valid[part].sum() / valid.sum()
        for part in parts
    )
    torch.testing.assert_close(joined, model.loss(predicted, target, valid))


def test_without_steps_and_weights_the_loss_of_sequences_is_the_mpjpe() -> None:
    torch.manual_seed(0)
    predicted, target = torch.randn(2, 3, 5, JOINTS, 3).unbind()
    model = small("mixste", num_frames=5, options={"velocity_weight": 0.0})
    torch.testing.assert_close(model.loss(predicted, target), mpjpe(predicted, target))
    default = small("mixste", num_frames=5)
    moving = mpjpe(predicted, target) + 2 * mpjpe(predicted.diff(dim=1), target.diff(dim=1))
    torch.testing.assert_close(default.loss(predicted, target), moving)
