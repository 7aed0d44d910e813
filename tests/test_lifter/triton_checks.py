"""What deform_sample in Triton must do, on whatever device the fixture `device` names.

Not collected by name: `test_triton.py` runs these on the CPU in a process of their own, with
Triton's interpreter, and `test_gpu.py` takes them over for a real device. Shapes are tiny, for the
interpreter does one operation of one program after the other.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from benchmarks.sampling_work import OURS, PUBLISHED, Work, value_ways, ways
from lifter.errors import SamplingError
from lifter.ops import deform_sample, gpu, prepare_levels
from tests.test_lifter.sampling import (
    Inputs,
    assert_as_accurate,
    both_paddings,
    clear_of_borders,
    in_double,
    random_inputs,
    stored_as,
)


@pytest.fixture
def device() -> str:
    return "cpu"


def moved(inputs: Inputs, device: str) -> Inputs:
    """The same numbers on a device; points are new leaves."""
    return Inputs(
        [level.to(device) for level in inputs.levels],
        *(each.detach().to(device).requires_grad_() for each in inputs[1:]),
    )


def sums_and_gradients(
    inputs: Inputs, scales: list[Tensor] | None, *, backend: str, device: str, **options: object
) -> list[Tensor]:
    """Sums of every level and the three gradients, on the CPU; computed on the device."""
    there = moved(inputs, device)
    factors = None if scales is None else [scale.to(device) for scale in scales]
    sums = deform_sample(*there, scales=factors, backend=backend, **options)
    generator = torch.Generator().manual_seed(1)
    seeds = [
        torch.randn(each.shape, generator=generator, dtype=torch.float64).to(each) for each in sums
    ]
    grads = torch.autograd.grad(sums, list(there[1:]), seeds)
    return [each.detach().cpu() for each in (*sums, *grads)]


def assert_accurate(
    inputs: Inputs,
    scales: list[Tensor] | None,
    device: str,
    *,
    padding: str = "border",
    align_corners: bool = True,
) -> None:
    """Fails where Triton is farther from float64 than twice the reference in float32."""
    options = {"padding": padding, "align_corners": align_corners}
    assert_as_accurate(
        sums_and_gradients(inputs, scales, backend="triton", device=device, **options),
        sums_and_gradients(inputs, scales, backend="reference", device=device, **options),
        sums_and_gradients(
            in_double(inputs, scales), None, backend="reference", device="cpu", **options
        ),
    )


@pytest.mark.parametrize(
    ("dtype", "padding", "align_corners"),
    [
        (torch.float32, "zeros", True),
        (torch.float16, "border", True),
        (torch.float16, "zeros", False),
        (torch.bfloat16, "border", False),
        (torch.uint8, "border", True),
        (torch.int8, "zeros", False),
    ],
    ids=str,
)
def test_sums_and_gradients_are_as_near_to_float64_as_the_reference_is(
    device: str, dtype: torch.dtype, padding: str, align_corners: bool
) -> None:
    inputs = clear_of_borders(random_inputs(joints=3), align_corners=align_corners)
    stored, scales = stored_as(inputs, dtype)
    assert_accurate(stored, scales, device, padding=padding, align_corners=align_corners)


def test_the_comparison_notices_a_point_that_is_slightly_off(device: str) -> None:
    inputs = clear_of_borders(random_inputs(joints=3), align_corners=True)
    off = inputs._replace(sampling_offsets=inputs.sampling_offsets.detach() + 1e-4)
    found = sums_and_gradients(off, None, backend="triton", device=device)
    exact = sums_and_gradients(in_double(inputs), None, backend="reference", device="cpu")
    theirs = sums_and_gradients(inputs, None, backend="reference", device=device)
    with pytest.raises(AssertionError, match="is off by"):
        assert_as_accurate(found, theirs, exact)


@pytest.mark.parametrize(
    ("padding", "shapes", "joints", "heads", "points"),
    [
        ("border", ((1, 1, 1), (1, 4, 13), (5, 1, 32)), 1, 1, 1),
        ("zeros", ((1, 1, 1), (1, 4, 13), (5, 1, 32)), 1, 1, 1),
        ("border", ((3, 2, 48),), 133, 1, 1),
        ("zeros", ((2, 3, 600), (3, 3, 2048)), 2, 2, 1),  # more channels than a tile has columns
        ("border", ((4, 3, 8),), 2, 3, 6),  # more points than a group, and a part of one
    ],
)
def test_odd_shapes_are_as_accurate_as_the_reference(
    device: str,
    padding: str,
    shapes: tuple[tuple[int, int, int], ...],
    joints: int,
    heads: int,
    points: int,
) -> None:
    inputs = random_inputs(batch=1, joints=joints, heads=heads, points=points, shapes=shapes)
    inputs = clear_of_borders(inputs, align_corners=False)
    assert_accurate(inputs, None, device, padding=padding, align_corners=False)


@pytest.mark.parametrize(("batch", "points"), [(0, 2), (2, 0)])
def test_without_samples_or_points_sums_are_empty_or_zero(
    device: str, batch: int, points: int
) -> None:
    inputs = random_inputs(batch=batch, joints=3, points=points, shapes=((2, 2, 5),))
    found = sums_and_gradients(inputs, None, backend="triton", device=device)
    expected = sums_and_gradients(inputs, None, backend="reference", device="cpu")
    assert all(map(torch.equal, found, expected))


@both_paddings
def test_points_on_cells_and_edges_take_the_slopes_of_the_reference(
    device: str, padding: str
) -> None:
    ticks = torch.tensor([-2.0, -1.5, -1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0])
    points = torch.cartesian_prod(ticks, ticks)[None]  # 5 cells wide: a cell every 0.5
    level = torch.randn(1, 5, 5, 3, generator=torch.Generator().manual_seed(2))
    ones = torch.ones(1, 1, points.shape[1], 1, 1)
    inputs = Inputs([level], points, torch.zeros(*ones.shape, 2), ones)
    options = {"device": device, "padding": padding}
    found = sums_and_gradients(inputs, None, backend="triton", **options)
    expected = sums_and_gradients(inputs, None, backend="reference", **options)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of numpy, which interprets
@both_paddings
def test_numbers_are_nan_where_those_of_the_reference_are(device: str, padding: str) -> None:
    inputs = random_inputs(joints=4, shapes=((4, 3, 5), (1, 2, 3)))
    spoilt = [each.detach().clone() for each in inputs[1:]]
    spoilt[0][1, 3] = torch.nan
    spoilt[1][0, 0, 1, 0, 0, 0] = torch.nan
    spoilt[1][0, 1, 1, 0, 1, 1] = torch.nan
    spoilt[1][0, 1, 2, 1, 2] = torch.inf
    spoilt[1][0, 0, 2, 1, 2] = -torch.inf
    spoilt[2][0, 0, 0, 1, 1] = torch.nan
    bad = Inputs(inputs.levels, *spoilt)
    found = sums_and_gradients(bad, None, backend="triton", device=device, padding=padding)
    expected = sums_and_gradients(bad, None, backend="reference", device="cpu", padding=padding)
    assert expected[0][0, 1, 0].isnan().all()
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize("far", [1e6, 1e30, torch.inf])
def test_points_far_outside_read_zero_or_the_border(device: str, far: float) -> None:
    inputs = random_inputs(joints=2, heads=1, points=1, shapes=((4, 6, 3),))
    away = inputs._replace(sampling_offsets=torch.full_like(inputs.sampling_offsets, far))
    zeros, *grads = sums_and_gradients(away, None, backend="triton", device=device, padding="zeros")
    assert (zeros == 0).all()
    assert all((each == 0).all() for each in grads)
    border, *_ = sums_and_gradients(away, None, backend="triton", device=device)
    corner = inputs.levels[0][:, None, None, -1, -1]
    torch.testing.assert_close(border, corner * inputs.attention_weights[:, 0].detach())


def test_maps_and_points_may_be_strided_and_no_input_changes(device: str) -> None:
    inputs = random_inputs(joints=3, shapes=((4, 3, 6),))
    plain = sums_and_gradients(inputs, None, backend="triton", device=device)
    (level,), reference, offsets, weights = moved(inputs, device)
    strided = Inputs(
        [level.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)],
        *(
            torch.stack((each, each), dim=-1).detach()[..., 0].requires_grad_()
            for each in (reference, offsets, weights)
        ),
    )
    assert not any(each.is_contiguous() for each in (*strided.levels, *strided[1:]))
    before = [each.detach().clone() for each in (*strided.levels, *strided[1:])]
    sums = deform_sample(*strided, backend="triton")
    assert torch.equal(sums[0].detach().cpu(), plain[0])
    torch.autograd.grad(sums[0].sum(), strided[1:])  # a gradient with strides of 0
    assert all(map(torch.equal, before, (*strided.levels, *strided[1:])))


def test_every_number_is_the_same_in_every_run(device: str) -> None:
    inputs, scales = stored_as(random_inputs(joints=5, shapes=((4, 6, 48),)), torch.uint8)
    once, twice = (
        sums_and_gradients(inputs, scales, backend="triton", device=device) for _ in range(2)
    )
    assert all(map(torch.equal, once, twice))


def test_op_is_registered_as_torch_library_asks(device: str) -> None:
    inputs = moved(random_inputs(joints=1, heads=1, shapes=((3, 2, 4),)), device)
    settings = ([torch.rand(4, device=device)], "zeros", True, "triton")
    # What tracing makes of the op does not depend on the backend, and is tested with the others.
    wanted = ("test_schema", "test_faketensor", "test_autograd_registration")
    outcome = torch.library.opcheck(
        torch.ops.posecache.deform_sample.default, (*inputs, *settings), test_utils=wanted
    )
    assert set(outcome.values()) == {"SUCCESS"}


def test_maps_are_read_as_they_are_stored(device: str) -> None:
    inputs, _ = stored_as(random_inputs(), torch.float16)
    there = moved(inputs, device)
    prepared = prepare_levels(there.levels, there.reference_points, backend="triton")
    assert all(mine is theirs for mine, theirs in zip(prepared, there.levels, strict=True))


def test_more_rows_than_32_bits_count_are_refused(device: str) -> None:
    number = torch.empty(1, device=device)  # one number, seen as many
    points = (number.expand(2**16, 2**15, 2), number.expand(2**16, 1, 2**15, 1, 1, 2))
    level = number.expand(2**16, 1, 1, 1)
    with pytest.raises(SamplingError, match="samples x joints x heads must be at most"):
        gpu.sample_levels([level], *points, points[1][..., 0], [], "border", True)


def test_the_ways_of_the_gpu_benchmark_give_the_same_tokens(device: str) -> None:
    work = Work(1, torch.device(device), sizes=((3, 2),), channels=(16,))
    found = {name: way().detach() for name, way in ways(work).items()}
    expected = found[PUBLISHED[0]]
    for name in OURS[:2]:
        torch.testing.assert_close(found[name], expected, rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(found[OURS[0]], expected, rtol=1e-4, atol=1e-4)
    assert 0 < float((found[OURS[2]] - expected).abs().max()) < 0.1
    for name, way in value_ways(work).items():
        ((values,), points) = (work.values, (work.reference_points, work.offsets, work.weights))
        options = {"padding": "zeros", "align_corners": False, "backend": "reference"}
        (sums,) = deform_sample([values], *points, **options)
        torch.testing.assert_close(way(), sums.flatten(-2), rtol=1e-4, atol=1e-4, msg=name)
