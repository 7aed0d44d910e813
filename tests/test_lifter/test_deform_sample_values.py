"""Sums of deform_sample against grid_sample with projection as published, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lifter.ops import Backend, Padding, deform_sample, prepare_levels
from tests.test_lifter.sampling import (
    DTYPES,
    SHAPES,
    Inputs,
    both_backends,
    both_corners,
    both_paddings,
    by_grid_sample,
    in_double,
    project_then_average,
    random_inputs,
    stored_as,
)

# Where points lie: inside, on cell centres, on the outermost centres and edges, beyond by that much
PLACES = ("inside", "cells", "edges", 1e3, 1e6, 1e30, torch.inf)


@st.composite
def problems(draw: st.DrawFn) -> tuple[Inputs, Padding, bool]:
    """Odd sizes of every axis, with points in all of the places."""
    align_corners = draw(st.booleans())
    channels = draw(st.sampled_from((1, 7, 48, 2048)))
    joints = draw(st.sampled_from((1, 17) if channels == 2048 else (1, 17, 133)))
    sizes = st.sampled_from((1, 2, 3, 8) if channels == 2048 else (1, 2, 3, 7, 16))
    shapes = draw(st.lists(st.tuples(sizes, sizes, st.just(channels)), min_size=1, max_size=3))
    inputs = random_inputs(
        dtype=torch.float64,
        batch=draw(st.integers(1, 3)),
        joints=joints,
        heads=draw(st.sampled_from((1, 4))),
        points=draw(st.sampled_from((1, 4))),
        shapes=shapes,
        spread=1.0,
        seed=(seed := draw(st.integers(0, 2**16))),
    )
    generator = torch.Generator().manual_seed(seed)
    for offsets, (height, width, _) in zip(
        inputs.sampling_offsets.detach().unbind(1), shapes, strict=True
    ):
        place = draw(st.sampled_from(PLACES))
        size = torch.tensor([width, height], dtype=torch.float64)
        if place == "cells":
            shares = torch.rand(offsets.shape, generator=generator, dtype=torch.float64)
            cells = (shares * (size + 2)).floor() - 1
            last = (size - 1).clamp(min=1)
            wanted = 2 * cells / last - 1 if align_corners else (2 * cells + 1) / size - 1
            offsets.copy_(wanted - inputs.reference_points.detach()[:, :, None, None])
        elif place == "edges":
            beyond = torch.randint(-1, 2, offsets.shape, generator=generator)
            wanted = offsets.sign() * (1 + beyond / size)
            offsets.copy_(wanted - inputs.reference_points.detach()[:, :, None, None])
        elif place != "inside":
            # An infinite coordinate on an axis of one centred cell is 0 * inf: see the NaN tests.
            far = 1e30 if place == torch.inf and align_corners and 1 in (height, width) else place
            offsets.copy_(offsets.sign() * far)
    return inputs, draw(st.sampled_from(("border", "zeros"))), align_corners


@given(problem=problems())
@settings(max_examples=25, deadline=None)
def test_any_sums_equal_those_of_stored_samples(problem: tuple[Inputs, Padding, bool]) -> None:
    inputs, padding, align_corners = problem
    ours = deform_sample(*inputs, padding=padding, align_corners=align_corners)
    theirs = by_grid_sample(inputs, padding=padding, align_corners=align_corners)
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


@given(
    problem=problems(),
    dtype=st.sampled_from(DTYPES),
    backend=st.sampled_from(["reference", "auto"]),
)
@settings(max_examples=25, deadline=None)
def test_any_sums_in_float32_are_near_those_in_float64(
    problem: tuple[Inputs, Padding, bool], dtype: torch.dtype, backend: Backend
) -> None:
    doubles, padding, align_corners = problem
    options = {"padding": padding, "align_corners": align_corners}
    single = Inputs(*([each.float() for each in doubles[0]], *(x.float() for x in doubles[1:])))
    stored, scales = stored_as(single, dtype)
    found = deform_sample(*stored, **options, scales=scales, backend=backend)
    expected = by_grid_sample(in_double(stored, scales), **options)
    for ours, exact, level in zip(found, expected, in_double(stored, scales).levels, strict=True):
        # A point of size 1 is known to 1e-7, which is 1e-6 cells of a map of 16.
        size = float(level.abs().max() * single.attention_weights.detach().abs().sum(-1).max())
        torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-5 * size)


@both_paddings
@both_corners
def test_projecting_the_sums_equals_projecting_every_sample(
    padding: Padding, align_corners: bool
) -> None:
    inputs = random_inputs(dtype=torch.float64, spread=0.95)
    inputs = inputs._replace(attention_weights=inputs.attention_weights.softmax(-1))
    options = {"padding": padding, "align_corners": align_corners}
    projections = [torch.nn.Linear(shape[-1], 8, dtype=torch.float64) for shape in SHAPES]
    sums = deform_sample(*inputs, **options)
    ours = [project(each) for project, each in zip(projections, sums, strict=True)]
    theirs = project_then_average(inputs, projections, **options)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@given(
    height=st.integers(2, 9),
    width=st.integers(2, 9),
    seed=st.integers(0, 2**16),
    align_corners=st.booleans(),
)
@settings(max_examples=25, deadline=None)
def test_linear_ramp_returns_the_coordinate(
    height: int, width: int, seed: int, align_corners: bool
) -> None:
    columns = torch.arange(width, dtype=torch.float64).expand(height, width)
    lines = torch.arange(height, dtype=torch.float64)[:, None].expand(height, width)
    ramp = torch.stack((columns, lines), dim=-1)[None]
    inputs = random_inputs(
        dtype=torch.float64, batch=1, shapes=((height, width, 2),), spread=0.3, seed=seed
    )
    weights = inputs.attention_weights.softmax(-1)
    (found,) = deform_sample(
        [ramp],
        inputs.reference_points,
        inputs.sampling_offsets,
        weights,
        align_corners=align_corners,
    )
    points = inputs.reference_points[:, :, None, None] + inputs.sampling_offsets[:, 0]
    size = torch.tensor([width, height], dtype=torch.float64)
    cells = (points + 1) / 2 * (size - 1) if align_corners else ((points + 1) * size - 1) / 2
    cells = cells.clamp(torch.zeros(2, dtype=torch.float64), size - 1)
    torch.testing.assert_close(found, (cells * weights[:, 0, ..., None]).sum(-2))


@given(seed=st.integers(0, 2**16), value=st.floats(-100, 100))
@settings(max_examples=25, deadline=None)
def test_constant_map_returns_the_constant_times_the_sum_of_weights(
    seed: int, value: float
) -> None:
    inputs = random_inputs(seed=seed, spread=3.0)
    constant = [torch.full_like(level, value) for level in inputs.levels]
    for index, found in enumerate(deform_sample(constant, *inputs[1:])):
        expected = value * inputs.attention_weights[:, index].sum(-1, keepdim=True)
        torch.testing.assert_close(found, expected.expand_as(found), atol=1e-3, rtol=1e-4)


@both_backends
def test_joints_may_be_permuted(backend: Backend) -> None:
    inputs = random_inputs()
    order = torch.randperm(inputs.reference_points.shape[1])
    permuted = deform_sample(
        inputs.levels,
        inputs.reference_points[:, order],
        inputs.sampling_offsets[:, :, order],
        inputs.attention_weights[:, :, order],
        backend=backend,
    )
    for found, expected in zip(permuted, deform_sample(*inputs, backend=backend), strict=True):
        assert torch.equal(found, expected[:, order])


@both_backends
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_maps_are_summed_in_float32(dtype: torch.dtype, backend: Backend) -> None:
    inputs = random_inputs()
    halves = [level.to(dtype) for level in inputs.levels]
    expected = deform_sample([half.float() for half in halves], *inputs[1:], backend=backend)
    for maps in (halves, prepare_levels(halves, inputs.reference_points, backend=backend)):
        found = deform_sample(maps, *inputs[1:], backend=backend)
        assert {each.dtype for each in found} == {torch.float32}
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@both_backends
def test_levels_may_differ_in_dtype(backend: Backend) -> None:
    inputs = random_inputs()
    mixed = [level.to(t) for level, t in zip(inputs.levels, DTYPES, strict=False)]
    found = deform_sample(mixed, *inputs[1:], backend=backend)
    expected = deform_sample([level.float() for level in mixed], *inputs[1:], backend=backend)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_sums_of_many_points_equal_a_loop_in_numpy() -> None:
    inputs = random_inputs(batch=1, joints=2, heads=1, points=2, shapes=SHAPES[:1], spread=0.9)
    (level,), reference, offsets, weights = [
        [each[0].numpy() for each in inputs.levels],
        *(each.detach()[0].numpy() for each in inputs[1:]),
    ]
    height, width, channels = level.shape
    expected = np.zeros((2, channels))
    for joint in range(2):
        for point in range(2):
            x, y = (
                (reference[joint] + offsets[0, joint, 0, point] + 1) / 2 * (width - 1, height - 1)
            )
            x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
            for line in range(height):
                for column in range(width):
                    share = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - line))
                    expected[joint] += weights[0, joint, 0, point] * share * level[line, column]
    (found,) = deform_sample(*inputs)
    np.testing.assert_allclose(found[0, :, 0].detach().numpy(), expected, atol=1e-5)
