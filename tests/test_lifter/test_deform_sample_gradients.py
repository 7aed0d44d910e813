"""Gradients of deform_sample: finite differences, grid_sample, layouts, and who asks for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lifter.ops import Backend, Padding, deform_sample
from tests.test_lifter.sampling import (
    Inputs,
    both_backends,
    both_corners,
    both_paddings,
    by_grid_sample,
    clear_of_borders,
    every_dtype,
    gradients,
    in_double,
    random_inputs,
    stored_as,
)


@both_paddings
@both_corners
@pytest.mark.parametrize("scaled", [False, True])
def test_gradients_are_those_of_finite_differences(
    padding: Padding, align_corners: bool, scaled: bool
) -> None:
    inputs = random_inputs(
        dtype=torch.float64, joints=2, heads=1, shapes=((5, 4, 3), (1, 3, 2)), seed=3
    )
    inputs = clear_of_borders(inputs, align_corners=align_corners)
    scales = [torch.linspace(0.5, 2, level.shape[-1]).double() for level in inputs.levels]

    def sums(*points: Tensor) -> tuple[Tensor, ...]:
        return tuple(
            deform_sample(
                inputs.levels,
                *points,
                scales=scales if scaled else None,
                padding=padding,
                align_corners=align_corners,
            )
        )

    assert torch.autograd.gradcheck(sums, inputs[1:])


@both_paddings
@both_corners
@pytest.mark.parametrize("joints", [1, 17, 133])
def test_sums_and_gradients_equal_grid_sample(
    padding: Padding, align_corners: bool, joints: int
) -> None:
    inputs = random_inputs(dtype=torch.float64, joints=joints)
    ours = deform_sample(*inputs, padding=padding, align_corners=align_corners)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradients(ours, inputs), gradients(theirs, inputs), rtol=0, atol=1e-11
    )


@both_paddings
@both_corners
@pytest.mark.parametrize("level_shape", [(1, 1, 2), (1, 4, 2), (5, 1, 2), (2, 2, 2048)])
def test_maps_of_one_cell_or_one_line_equal_grid_sample(
    padding: Padding, level_shape: tuple[int, int, int], align_corners: bool
) -> None:
    inputs = random_inputs(dtype=torch.float64, joints=5, shapes=(level_shape,), spread=3.0)
    ours = deform_sample(*inputs, padding=padding, align_corners=align_corners)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(
        gradients(ours, inputs), gradients(theirs, inputs), atol=1e-10, rtol=0
    )


@both_paddings
def test_points_on_cells_and_on_the_edges_equal_grid_sample(padding: Padding) -> None:
    ticks = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0], dtype=torch.float64)
    points = torch.cartesian_prod(ticks, ticks)[None]  # 5 cells wide: a cell every 0.5
    inputs = Inputs(
        [torch.randn(1, 5, 5, 3, dtype=torch.float64)],
        points.requires_grad_(),
        torch.zeros(1, 1, points.shape[1], 1, 1, 2, dtype=torch.float64, requires_grad=True),
        torch.ones(1, 1, points.shape[1], 1, 1, dtype=torch.float64, requires_grad=True),
    )
    ours = deform_sample(*inputs, padding=padding)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=True)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(gradients(ours, inputs), gradients(theirs, inputs))


def sliced(tensor: Tensor) -> Tensor:
    """Every second element of a larger tensor, along the last axis and the first."""
    larger = tensor.repeat_interleave(2, 0).repeat_interleave(2, -1)
    return larger[::2, ..., ::2]


def permuted(tensor: Tensor) -> Tensor:
    """The axes after the first stored in reverse order."""
    order = (0, *range(tensor.ndim - 1, 0, -1))
    return tensor.permute(order).contiguous().permute(order)


def displaced(tensor: Tensor) -> Tensor:
    """One element behind the start of its memory."""
    memory = tensor.new_empty(tensor.numel() + 1)
    return memory[1:].view(tensor.shape).copy_(tensor)


def expanded(tensor: Tensor) -> Tensor:
    """The first sample for all, stored once."""
    return tensor[:1].expand_as(tensor)


@both_backends
@every_dtype
@pytest.mark.parametrize("layout", [sliced, permuted, displaced, expanded])
def test_layout_in_memory_changes_nothing_and_no_input_changes(
    layout: Callable[[Tensor], Tensor], dtype: torch.dtype, backend: Backend
) -> None:
    inputs, scales = stored_as(random_inputs(joints=5), dtype)
    laid = Inputs(
        [layout(level) for level in inputs.levels],
        *(layout(each.detach()).requires_grad_() for each in inputs[1:]),
    )
    plain = Inputs(
        [level.contiguous() for level in laid.levels],
        *(each.detach().contiguous().requires_grad_() for each in laid[1:]),
    )
    before = [each.detach().clone() for each in (*laid.levels, *laid[1:])]
    ours = deform_sample(*laid, scales=scales, backend=backend)
    expected = deform_sample(*plain, scales=scales, backend=backend)
    assert all(map(torch.equal, ours, expected))
    assert all(map(torch.equal, gradients(ours, laid), gradients(expected, plain)))
    assert all(map(torch.equal, before, (*laid.levels, *laid[1:])))


@both_backends
@pytest.mark.parametrize("wanted", [1, 2, 3])
def test_one_input_may_ask_for_its_gradient_alone(wanted: int, backend: Backend) -> None:
    inputs = random_inputs()
    every = gradients(deform_sample(*inputs, backend=backend), inputs)
    alone = [
        each if index == wanted else each.detach() if index else each
        for index, each in enumerate(inputs)
    ]
    sums = deform_sample(*alone, backend=backend)
    generator = torch.Generator().manual_seed(1)
    seeds = [torch.randn(each.shape, generator=generator, dtype=torch.float64) for each in sums]
    found = torch.autograd.grad(sums, inputs[wanted], [seed.float() for seed in seeds])
    assert torch.equal(found[0], every[wanted - 1])


@both_backends
def test_a_level_that_nobody_uses_gets_no_gradient(backend: Backend) -> None:
    inputs = random_inputs()
    sums = deform_sample(*inputs, backend=backend)
    grads = torch.autograd.grad(sums[1].square().sum(), inputs[2:])
    for grad in grads:
        assert (grad[:, [0, 2]] == 0).all()
        assert (grad[:, 1] != 0).any()


@both_backends
def test_two_uses_in_one_graph_add_their_gradients(backend: Backend) -> None:
    inputs = random_inputs()
    first = deform_sample(*inputs, backend=backend)
    second = deform_sample(*inputs, padding="zeros", backend=backend)
    apart = [
        a + b for a, b in zip(gradients(first, inputs), gradients(second, inputs), strict=True)
    ]
    first = deform_sample(*inputs, backend=backend)
    second = deform_sample(*inputs, padding="zeros", backend=backend)
    generator = torch.Generator().manual_seed(1)
    seeds = [torch.randn(x.shape, generator=generator, dtype=torch.float64).float() for x in first]
    both = sum(((a + b) * seed).sum() for a, b, seed in zip(first, second, seeds, strict=True))
    both.backward()
    torch.testing.assert_close([each.grad for each in inputs[1:]], apart)


@both_backends
@pytest.mark.parametrize(
    "empty", [{"batch": 0}, {"joints": 0}, {"heads": 0}, {"points": 0}, {"shapes": ((3, 4, 0),)}]
)
def test_an_empty_axis_gives_empty_or_zero_sums(empty: dict[str, int], backend: Backend) -> None:
    inputs = random_inputs(**empty)
    sums = deform_sample(*inputs, backend=backend)
    batch, joints, _ = inputs.reference_points.shape
    heads = inputs.attention_weights.shape[3]
    assert [each.shape for each in sums] == [
        (batch, joints, heads, level.shape[-1]) for level in inputs.levels
    ]
    for grad, each in zip(gradients(sums, inputs), inputs[1:], strict=True):
        assert grad.shape == each.shape
        assert (grad == 0).all()
    assert all((each == 0).all() for each in sums)


@both_backends
def test_second_derivatives_are_refused_and_not_wrong(backend: Backend) -> None:
    inputs = random_inputs()
    loss = sum(each.square().sum() for each in deform_sample(*inputs, backend=backend))
    (grad,) = torch.autograd.grad(loss, inputs[2], create_graph=True)
    with pytest.raises(RuntimeError, match="deform_sample_backward"):
        torch.autograd.grad(grad.sum(), inputs[2])


@both_backends
@every_dtype
@both_paddings
def test_scales_multiply_gradients_too(
    dtype: torch.dtype, padding: Padding, backend: Backend
) -> None:
    single, _ = stored_as(random_inputs(), dtype)
    single = clear_of_borders(single, align_corners=True)
    scales = [torch.linspace(0.1, 2, level.shape[-1]) for level in single.levels]
    sums = deform_sample(*single, scales=scales, padding=padding, backend=backend)
    exact = in_double(single, scales)
    truth = by_grid_sample(exact, padding=padding, align_corners=True)
    for found, true in zip(gradients(sums, single), gradients(truth, exact), strict=True):
        torch.testing.assert_close(found.double(), true, rtol=0, atol=1e-5 * true.abs().max())
