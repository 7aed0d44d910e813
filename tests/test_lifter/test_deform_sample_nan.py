"""What is not a number, and what is infinite: where it shows in deform_sample, and where not."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lifter.ops import Backend, Padding, deform_sample
from lifter.ops.cpu import is_built
from tests.test_lifter.sampling import (
    Inputs,
    both_backends,
    both_corners,
    both_paddings,
    clear_of_borders,
    gradients,
    random_inputs,
)


def spoilt(inputs: Inputs, *, seed: int, share: float) -> tuple[Inputs, list[Tensor]]:
    """Returns the inputs with some numbers made NaN, and which sums [B, J, M] read one."""
    generator = torch.Generator().manual_seed(seed)

    def spoil(tensor: Tensor) -> Tensor:
        hit = torch.rand(tensor.shape, generator=generator) < share
        return tensor.detach().masked_fill(hit, torch.nan).requires_grad_()

    found = Inputs(inputs.levels, *map(spoil, inputs[1:]))
    _, reference, offsets, weights = found
    hit = (offsets.isnan().any(-1) | weights.isnan()).any(-1)  # [B, L, J, M]
    hit = hit | reference.isnan().any(-1)[:, None, :, None]
    return found, list(hit.unbind(1))


@both_backends
@given(
    seed=st.integers(0, 2**16),
    padding=st.sampled_from(["border", "zeros"]),
    align_corners=st.booleans(),
    spread=st.sampled_from([0.9, 1.5, 1e6]),
)
@settings(max_examples=25, deadline=None)
def test_nan_shows_in_exactly_the_sums_that_read_one(
    backend: Backend, seed: int, padding: Padding, align_corners: bool, spread: float
) -> None:
    inputs = random_inputs(shapes=((5, 4, 9), (1, 3, 2)), spread=spread, seed=seed)
    options = {"padding": padding, "align_corners": align_corners, "backend": backend}
    found, hits = spoilt(inputs, seed=seed, share=0.03)
    sums, clean = deform_sample(*found, **options), deform_sample(*inputs, **options)
    for ours, expected, hit in zip(sums, clean, hits, strict=True):
        assert torch.equal(ours.isnan(), hit[..., None].expand_as(ours))
        assert torch.equal(ours[~hit], expected[~hit])
    spread_on, clean_on = gradients(sums, found), gradients(clean, inputs)
    missed = ~torch.stack(hits, dim=1)  # [B, L, J, M]
    assert torch.equal(spread_on[1][missed], clean_on[1][missed])
    assert torch.equal(spread_on[2][missed], clean_on[2][missed])


@pytest.mark.skipif(not is_built(), reason="the C kernel was not built at installation")
@both_paddings
@both_corners
def test_the_kernel_makes_nan_gradients_where_the_reference_does(
    padding: Padding, align_corners: bool
) -> None:
    inputs, _ = spoilt(random_inputs(spread=1.5), seed=3, share=0.05)
    options = {"padding": padding, "align_corners": align_corners}
    both = []
    for backend in ("reference", "cpu"):
        sums = deform_sample(*inputs, **options, backend=backend)
        both.append([each.isnan() for each in (*sums, *gradients(sums, inputs))])
    assert both[0][4].any()
    assert not both[0][4].all()
    assert all(map(torch.equal, *both))


@both_backends
@both_corners
@pytest.mark.parametrize("far", [1e3, 1e6, 1e30, torch.inf])
def test_points_far_outside_read_zero_or_the_border(
    far: float, backend: Backend, align_corners: bool
) -> None:
    inputs = random_inputs(shapes=((4, 6, 3),))
    options = {"align_corners": align_corners, "backend": backend}
    for x, y in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        away = torch.tensor([x * far, y * far]).expand_as(inputs.sampling_offsets)
        moved = inputs._replace(sampling_offsets=away.clone().requires_grad_())
        zeros = deform_sample(*moved, padding="zeros", **options)
        assert (zeros[0] == 0).all()
        border = deform_sample(*moved, padding="border", **options)
        line, column = (-1 if coordinate > 0 else 0 for coordinate in (y, x))
        corner = inputs.levels[0][:, None, None, line, column]
        torch.testing.assert_close(
            border[0], corner * inputs.attention_weights[:, 0].sum(-1, keepdim=True)
        )
        for sums in (zeros, border):
            reference_grad, offsets_grad, weights_grad = gradients(sums, moved)
            assert (reference_grad == 0).all()
            assert (offsets_grad == 0).all()
            assert weights_grad.isfinite().all()


@both_backends
@both_paddings
def test_an_infinite_coordinate_on_an_axis_of_one_centred_cell_is_not_a_number(
    backend: Backend, padding: Padding
) -> None:
    # Any finite coordinate lies on the cell: the step is 0, and 0 times infinity is not a number.
    inputs = random_inputs(shapes=((1, 5, 3),))
    offsets = torch.zeros_like(inputs.sampling_offsets)
    offsets[..., 1] = torch.inf
    (sums,) = deform_sample(
        *inputs._replace(sampling_offsets=offsets), padding=padding, backend=backend
    )
    assert sums.isnan().all()


@both_backends
@both_corners
def test_a_cell_that_is_no_number_reaches_only_the_points_beside_it(
    backend: Backend, align_corners: bool
) -> None:
    inputs = random_inputs(shapes=((6, 5, 11),), heads=1, points=1, spread=0.6)
    inputs = clear_of_borders(inputs, align_corners=align_corners)
    line, column = 2, 3
    level = inputs.levels[0].clone()
    level[:, line, column, 4] = torch.nan
    (sums,) = deform_sample([level], *inputs[1:], align_corners=align_corners, backend=backend)
    size = torch.tensor([5.0, 6.0])
    points = inputs.reference_points[:, :, None] + inputs.sampling_offsets[:, 0, :, :, 0]
    cells = (points + 1) * (size - 1) / 2 if align_corners else (points + 1) * size / 2 - 0.5
    beside = ((cells - torch.tensor([float(column), float(line)])).abs() < 1).all(-1)
    assert beside.any()
    assert torch.equal(sums[..., 4].isnan(), beside)
    assert sums[..., torch.arange(11) != 4].isfinite().all()


@both_backends
def test_the_neighbour_of_a_point_on_a_cell_weighs_nothing_but_is_read(backend: Backend) -> None:
    # 0 times NaN is NaN, as in grid_sample: frames with such maps must be marked as not usable.
    level = torch.zeros(1, 3, 3, 2)
    level[0, 1, 2] = torch.nan
    nothing = (torch.zeros(1, 1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1, 1))
    (sums,) = deform_sample([level], torch.zeros(1, 1, 2), *nothing, backend=backend)
    assert sums.isnan().all()
