"""deform_sample as torch sees it: registered, compiled, exported, under autocast."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lifter.ops import Backend, Padding, deform_sample
from lifter.ops.cpu import is_built
from tests.test_lifter.sampling import (
    Inputs,
    both_backends,
    gradients,
    random_inputs,
    stored_as,
)
from tests.test_lifter.test_models import CHANNELS, random_batch, small

needs_kernel = pytest.mark.skipif(
    not is_built(), reason="the C kernel was not built at installation"
)
both_compilers = pytest.mark.parametrize(
    "mode",
    [
        "aot_eager",
        pytest.param(
            "inductor",
            marks=[
                pytest.mark.slow,
                # Of torch's own import of inductor.
                pytest.mark.filterwarnings("ignore:`torch.jit.script:DeprecationWarning"),
            ],
        ),
    ],
)


@pytest.mark.parametrize(
    ("backend", "dtype", "padding"),
    [
        ("reference", torch.float32, "border"),
        pytest.param("cpu", torch.uint8, "zeros", marks=needs_kernel),
        pytest.param("reference", torch.int8, "zeros", marks=pytest.mark.slow),
        pytest.param("cpu", torch.float16, "border", marks=[needs_kernel, pytest.mark.slow]),
    ],
)
def test_op_is_registered_as_torch_library_asks(
    backend: Backend, dtype: torch.dtype, padding: Padding
) -> None:
    inputs, scales = stored_as(random_inputs(joints=3), dtype)
    settings = (scales or [], padding, True, backend)
    forward = torch.library.opcheck(torch.ops.posecache.deform_sample.default, (*inputs, *settings))
    assert set(forward.values()) == {"SUCCESS"}
    detached = [each.detach() for each in inputs[1:]]
    grads = [torch.randn_like(each) for each in deform_sample(*inputs, scales=scales)]
    backward = torch.library.opcheck(
        torch.ops.posecache.deform_sample_backward.default,
        (grads, inputs.levels, *detached, *settings),
    )
    assert set(backward.values()) == {"SUCCESS"}


@both_compilers
@pytest.mark.parametrize("backend", ["auto", "reference", pytest.param("cpu", marks=needs_kernel)])
def test_compiled_without_a_graph_break_gives_equal_sums_and_gradients(
    backend: Backend, mode: str
) -> None:
    def projected(*inputs: Tensor) -> list[Tensor]:
        sums = deform_sample(levels, *inputs, padding="zeros", backend=backend)
        return [each.sin() for each in sums]

    inputs = random_inputs(joints=5)
    levels = inputs.levels
    torch.compiler.reset()
    found = torch.compile(projected, fullgraph=True, backend=mode)(*inputs[1:])
    expected = projected(*inputs[1:])
    if mode == "aot_eager":
        assert all(map(torch.equal, found, expected))
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def trained_once(
    model: nn.Module, *, compiled_with: str | None
) -> tuple[Tensor, dict[str, Tensor]]:
    keypoints, reference, levels = random_batch()
    torch.compiler.reset()
    called = model
    if compiled_with:
        called = torch.compile(model, fullgraph=True, backend=compiled_with)
    model.zero_grad()
    output = called(keypoints, reference, levels[:1])
    output.square().sum().backward()
    return output.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@both_compilers
def test_a_lifter_in_training_is_compiled_without_a_graph_break(mode: str) -> None:
    model = small(drop_path=0.0, depth=1, level_channels=CHANNELS[:1]).train()
    output, grads = trained_once(model, compiled_with=mode)
    expected, expected_grads = trained_once(model, compiled_with=None)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(grads, expected_grads, atol=1e-4, rtol=1e-4)


@pytest.mark.slow
def test_a_lifter_can_be_exported() -> None:
    model = small(depth=1).eval()
    keypoints, reference, levels = random_batch(batch=3)
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(
        model,
        (keypoints, reference, levels),
        dynamic_shapes=({0: batch}, {0: batch}, [{0: batch}] * len(levels)),
    )
    others = random_batch(batch=5, seed=7)
    torch.testing.assert_close(exported.module()(*others), model(*others))


@both_backends
def test_autocast_changes_neither_sums_nor_gradients(backend: Backend) -> None:
    inputs = random_inputs()
    expected = deform_sample(*inputs, backend=backend)
    expected_grads = gradients(expected, inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = deform_sample(*inputs, backend=backend)
    assert all(map(torch.equal, found, expected))
    assert all(map(torch.equal, gradients(found, inputs), expected_grads))


def test_a_lifter_under_autocast_samples_at_float32_points(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Inputs] = []

    def watched(levels: list[Tensor], *points: Tensor, **options: object) -> list[Tensor]:
        seen.append(Inputs(levels, *points))
        return deform_sample(levels, *points, **options)

    monkeypatch.setattr("lifter.blocks.deform_sample", watched)
    monkeypatch.setattr("lifter.pyramid.deform_sample", watched)
    model = small().train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        model(*random_batch()).float().sum().backward()
    assert len(seen) == 3  # at the joints, and once per block
    assert {each.dtype for inputs in seen for each in inputs[1:]} == {torch.float32}
    offsets = seen[-1].sampling_offsets
    assert not torch.equal(offsets, offsets.bfloat16().float())
