"""The compiled kernel against the reference: every dtype, odd shapes, any number of threads."""

from __future__ import annotations

import pytest
import torch

from lifter.ops import cpu, deform_sample, prepare_levels, reference
from tests.test_lifter.sampling import Inputs, gradients, random_inputs

pytestmark = pytest.mark.skipif(
    not cpu.is_built(), reason="the C kernel was not built at installation"
)

DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.uint8, torch.int8)


def of_dtype(inputs: Inputs, dtype: torch.dtype) -> Inputs:
    if dtype.is_floating_point:
        return inputs._replace(levels=[level.to(dtype) for level in inputs.levels])
    return inputs._replace(levels=[(level.abs() * 40).to(dtype) for level in inputs.levels])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("padding", ["border", "zeros"])
@pytest.mark.parametrize("align_corners", [True, False])
@pytest.mark.parametrize("channels", [1, 8, 13, 48])
def test_kernel_equals_the_reference(
    dtype: torch.dtype, padding: str, align_corners: bool, channels: int
) -> None:
    shapes = ((7, 5, channels), (1, 4, channels), (6, 1, channels))
    inputs = of_dtype(random_inputs(shapes=shapes), dtype)
    scales = [torch.linspace(0.1, 1, channels)] * 3
    options = {"scales": scales, "padding": padding, "align_corners": align_corners}
    ours = deform_sample(*inputs, **options, backend="cpu")
    theirs = deform_sample(*inputs, **options, backend="reference")
    size = max(float(each.detach().abs().max()) for each in theirs)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=2e-6 * size)
    mine, other = gradients(ours, inputs), gradients(theirs, inputs)
    size = max(float(each.detach().abs().max()) for each in other)
    torch.testing.assert_close(mine, other, rtol=1e-4, atol=1e-5 * size)


def test_a_point_that_is_no_number_gives_outputs_that_are_not() -> None:
    inputs = random_inputs(shapes=((4, 4, 16),))
    with torch.no_grad():
        inputs.sampling_offsets[0, 0, 3, 1, 0, 0] = float("nan")
        inputs.sampling_offsets[1, 0, 0, 0, 0] = float("inf")
        (sums,) = deform_sample(*inputs, backend="cpu")
    assert sums[0, 3, 1].isnan().all()
    assert sums.isnan().sum() == 16


def test_results_do_not_depend_on_the_number_of_threads() -> None:
    inputs = random_inputs(batch=5)
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            sums = deform_sample(*inputs, backend="cpu")
            found.append([*sums, *gradients(sums, inputs)])
    finally:
        torch.set_num_threads(before)
    assert all(map(torch.equal, found[0], found[1]))
    assert all(map(torch.equal, found[0], found[2]))


def test_plain_instructions_give_what_wide_ones_do(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = of_dtype(random_inputs(shapes=((6, 5, 19),)), torch.float16)
    sums = deform_sample(*inputs, backend="cpu")
    wide = [*sums, *gradients(sums, inputs)]
    monkeypatch.setattr(cpu, "_wide", lambda: 0)
    sums = deform_sample(*inputs, backend="cpu")
    torch.testing.assert_close([*sums, *gradients(sums, inputs)], wide, rtol=1e-4, atol=1e-4)


def test_half_precision_numbers_are_read_exactly() -> None:
    codes = torch.arange(-32768, 32768, dtype=torch.int32).to(torch.int16).view(torch.float16)
    level = codes[codes.isfinite()][None, None, None]
    point = torch.zeros(1, 1, 2)
    one = (torch.zeros(1, 1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1, 1))
    (found,) = deform_sample([level], point, *one, backend="cpu")
    assert torch.equal(found.flatten(), level.flatten().float())


def test_kernel_reads_stored_halves_without_a_float_copy() -> None:
    inputs = of_dtype(random_inputs(), torch.float16)
    prepared = prepare_levels(inputs.levels, inputs.reference_points)
    assert all(map(torch.equal, prepared, inputs.levels))
    assert prepared[0].dtype == torch.float16


def test_without_a_kernel_auto_takes_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "_kernel", lambda: None)
    inputs = random_inputs()
    found = deform_sample(*inputs)
    expected = reference.sample_levels(*inputs, [], "border", True)
    assert all(map(torch.equal, found, expected))
